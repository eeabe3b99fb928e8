"""Which backbone: cross-validated on the training images alone, told in words that follow from the figures."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paribus.cli import main
from paribus.errors import ConfigError
from paribus.report import ranking as page
from paribus.stats import crossed, wilson
from paribus.transfer import ranking as module
from paribus.transfer.ranking import Candidate, Ranking, rank
from pretrained import SIZE, make_digests_slow, write_weights


@pytest.fixture
def photos(tmp_path: Path, fresh_cache: Path) -> Path:
    """Return a folder with train and test: bright and dark pictures under noise, some of them alike."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 30), ("test", 4)):
        for level, name in ((90, "dark"), (130, "bright")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = generator.normal(level, 40, (48, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def candidate(name: str, accuracy: float, milliseconds: float, **changes: object) -> Candidate:
    plain = Candidate(name, 224, accuracy, wilson(round(200 * accuracy), 200), 0.1, milliseconds, 10**6, "mit")
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_backbones_are_ranked_by_what_heads_make_of_images_that_they_have_not_seen(
    photos: Path, tmp_path: Path
) -> None:
    found = rank(str(photos), [str(write_weights(tmp_path))], [SIZE, SIZE // 2])
    assert (found.images, found.num_classes, len(found.candidates)) == (60, 2, 2)
    best, other = found.candidates
    assert best.accuracy >= other.accuracy > 0.5
    assert {best.input, other.input} == {SIZE, SIZE // 2}
    assert best.ci95 == wilson(round(60 * best.accuracy), 60)
    assert (best.behind, best.is_as_good) == (None, True)
    assert min(each.milliseconds for each in found.candidates) > 0
    assert best.parameters == other.parameters > 1000
    assert best.licence == "apache-2.0"
    assert any(each.on_front for each in found.candidates)


def test_test_images_have_no_part_in_it(photos: Path, tmp_path: Path) -> None:
    sidecar = str(write_weights(tmp_path))
    before = rank(str(photos), [sidecar]).candidates[0]
    for file in (photos / "test" / "dark").iterdir():
        Image.new("RGB", (48, 48), "white").save(file)
    after = rank(str(photos), [sidecar]).candidates[0]
    assert (before.accuracy, before.loss) == (after.accuracy, after.loss)


def test_making_sure_that_a_backbone_has_not_moved_is_not_in_its_time(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are digested however few images there are, so that the time would be that of the largest backbone."""
    make_digests_slow(monkeypatch)
    (found,) = rank(str(photos), [str(write_weights(tmp_path))], [SIZE]).candidates
    assert 0 < found.milliseconds < 100_000


def test_who_is_as_good_and_who_is_beaten() -> None:
    generator = np.random.default_rng(1)
    good = np.ones((5, 300))
    close, bad = good.copy(), (generator.random((5, 300)) < 0.7).astype(float)
    close[:, :1] = 0

    def measured(name: str, correct: np.ndarray, milliseconds: float) -> module._Measured:
        mean = float(correct.mean())
        return module._Measured(dataclasses.asdict(candidate(name, mean, milliseconds)) | {"name": name}, correct)

    given = [measured("good", good, 30), measured("close", close, 10), measured("bad", bad, 20)]
    for each in given:
        for key in ("behind", "is_as_good", "on_front"):
            del each.candidate[key]
    best, second, third = module._compared(given)
    assert [best.is_as_good, second.is_as_good, third.is_as_good] == [True, True, False]
    assert [best.on_front, second.on_front, third.on_front] == [True, True, False]
    assert second.behind == crossed(close, good).ci95
    assert Ranking("x", 300, 2, (best, second, third)).choice is second


def test_the_words_follow_from_the_figures() -> None:
    best = candidate("big", 0.98, 40.0)
    fast = candidate("small", 0.975, 10.0, behind=(-0.02, 0.01))
    bad = candidate("old", 0.8, 5.0, behind=(-0.25, -0.1), is_as_good=False)
    said = " ".join(page.why(Ranking("photos", 200, 2, (best, fast, bad))))
    assert "A head on `big at 224` is right most often: 98.00 % (95 % interval 94.97 to 99.22)" in said
    assert "on 200 training images in 2 classes. These images cannot tell `small at 224` from it." in said
    assert "`small at 224` is the fastest, 10.0 ms per image against 40.0: take it where time counts" in said
    assert said.endswith("Worse beyond chance: `old at 224`.")
    alone = " ".join(page.why(Ranking("photos", 200, 2, (best,))))
    assert alone.endswith("Take it.") and "cannot tell" not in alone
    quick = candidate("quick", 0.99, 1.0)
    assert "also the fastest of these, 1.0 ms" in " ".join(page.why(Ranking("photos", 200, 2, (quick, fast))))


def test_the_page_has_the_parts_and_the_style_of_a_report() -> None:
    best = candidate("big", 0.98, 40.0)
    fast = candidate("small", 0.975, 10.0, behind=(-0.02, 0.01))
    html = page.to_html(Ranking("photos", 200, 2, (best, fast)))
    style = html[html.index("<style>") : html.index("</style>")]
    classes = {name for names in re.findall(r'class="([^"]+)"', html) for name in names.split()}
    assert {name for name in classes if f".{name}" not in style} <= {"text", "scroll"}
    assert 'role="img" aria-label="Accuracy in cross-validation over milliseconds per image' in html
    assert "big at 224 98.00 % (94.97 to 99.22) at 40.0 ms" in html and "Accuracy (%)</th>" in html
    assert "0.1000" in html and "\u22122.00 to +1.00" in html
    assert [row[6] for row in page.rows(Ranking("photos", 200, 2, (best, fast)))] == ["0.1000", "0.1000"]


def test_the_command_writes_what_it_prints(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sidecar, files = str(write_weights(tmp_path)), (tmp_path / "found.json", tmp_path / "found.html")
    assert main(["probe", str(photos), "--weights", sidecar, "--json", str(files[0]), "--html", str(files[1])]) == 0
    printed, kept = capsys.readouterr().out, json.loads(files[0].read_text())
    assert "Take it." in printed and "tiny" in printed
    assert kept["choice"] == {"name": "tiny", "input": SIZE}
    assert f"{100 * kept['candidates'][0]['accuracy']:.2f}" in printed
    html = files[1].read_text()
    assert (
        "<svg" in html
        and 'scope="row">1. tiny<small>at 32 pixels</small></th>' in html
        and "http" not in html.replace("http://www.w3.org", "")
    )


def test_the_command_looks_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And advises no setting of an experiment, as there is none."""
    monkeypatch.setenv("PARIBUS_OFFLINE", "1")
    monkeypatch.setenv("PARIBUS_DATA", "")
    sidecar = str(write_weights(tmp_path))
    assert main(["probe", "mnist", "--weights", sidecar, "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"is in none of `{tmp_path}`, " in said and said.endswith("with --data-dir or PARIBUS_DATA.\n")
    assert main(["audit", "mnist", "--data-dir", str(tmp_path)]) == 2
    assert "--set" not in capsys.readouterr().err


def test_nothing_cannot_be_ranked(photos: Path) -> None:
    with pytest.raises(ConfigError, match="At least one backbone must be named"):
        rank(str(photos), [])
