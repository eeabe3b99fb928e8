"""What `paribus audit` finds by the features of a backbone, and what it finds in real data."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from audit_files import audited, clean, kinds, photo, saved, the
from paribus.audit import Options, examine
from paribus.audit.grouping import NEIGHBOURS, neighbours
from paribus.audit.labels import confident_suspects, out_of_fold_probabilities
from paribus.errors import DataError
from paribus.transfer import fit_logistic, out_of_fold
from pretrained import real_weights, write_weights


def test_confident_suspects_by_hand() -> None:
    """The usual confidence is 2.05 / 3 in each class: only the last two reach that of the other one."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.25, 0.75], [0.75, 0.25]])
    labels = np.array([0, 0, 1, 1, 0, 1])
    usual = [probabilities[labels == label, label].mean() for label in (0, 1)]
    np.testing.assert_allclose(usual, 2.05 / 3)
    found = confident_suspects(probabilities, labels)
    assert (found.indices.tolist(), found.instead.tolist()) == ([4, 5], [1, 0])
    unsure = probabilities.copy()
    unsure[4] = [0.45, 0.55]  # Another class is likelier, but not by as much as is usual there.
    assert 4 not in confident_suspects(unsure, labels).indices.tolist()


def test_a_label_that_is_the_likeliest_is_not_doubted() -> None:
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1], [0.6, 0.4], [0.55, 0.45]])
    labels = np.array([1, 1, 0, 0, 0])
    found = confident_suspects(probabilities, labels)
    assert all(probabilities[index].argmax() != labels[index] for index in found.indices)


def two_clouds(number: int = 120) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(5)
    labels = np.arange(number, dtype=np.int64) % 2
    features = generator.normal(size=(number, 6)) + 3 * labels[:, None]
    return features.astype(np.float32), labels


def test_wrong_labels_are_found_first() -> None:
    features, labels = two_clouds()
    wrong = np.array([3, 40, 77])
    given_labels = labels.copy()
    given_labels[wrong] = 1 - given_labels[wrong]
    found = confident_suspects(out_of_fold_probabilities(features, given_labels, 2), given_labels)
    assert set(found.indices[:3].tolist()) == set(wrong.tolist())
    assert found.instead[:3].tolist() == labels[found.indices[:3]].tolist()
    assert len(confident_suspects(out_of_fold_probabilities(features, labels, 2), labels).indices) == 0


def test_strength_from_a_part_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = two_clouds()
    whole = out_of_fold_probabilities(features, labels, 2)
    monkeypatch.setattr("paribus.audit.labels._LEAST_TO_CHOOSE", 60)
    part = out_of_fold_probabilities(features, labels, 2)
    assert part.shape == whole.shape
    assert (part.argmax(axis=1) == whole.argmax(axis=1)).all()


def test_no_example_is_judged_by_a_head_that_was_fitted_to_it() -> None:
    """A wrong label that is fitted to is believed; out of fold it is not."""
    features, labels = two_clouds(20)
    labels[3] = 1 - labels[3]
    wide = np.concatenate([features, 10 * np.eye(20, dtype=np.float32)], axis=1)  # Each has a feature of its own.
    fitted = fit_logistic(wide, labels, 2, 1e-3).logits(wide).argmax(axis=1)
    held = out_of_fold(wide, labels, 2, seed=0, strength=1e-3).argmax(axis=1)
    assert fitted[3] == labels[3]
    assert held[3] != labels[3]
    with pytest.raises(DataError, match="at least 2 training examples in each"):
        out_of_fold(features[:3], labels[:3], 2, seed=0, strength=1.0)


# Neighbours in features


def test_neighbours_are_pairs_far_closer_than_others() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(60, 32)).astype(np.float32)
    assert len(neighbours(features)) == 0
    features[50] = features[7] + 0.1 * generator.normal(size=32)
    assert neighbours(features).tolist() == [[7, 50]]


def test_neighbours_do_not_depend_on_blocks_or_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(2).normal(size=(40, 8)).astype(np.float32)
    features[20:25] = features[:5] * 3 + 0.01
    whole = neighbours(features).tolist()
    assert {(index, 20 + index) for index in range(5)} <= {(a, b) for a, b in whole}
    monkeypatch.setattr("paribus.audit.grouping._BLOCK", NEIGHBOURS - 3)
    assert sorted(neighbours(features).tolist()) == sorted(whole)
    assert sorted(neighbours(2 * features).tolist()) == sorted(whole)


def test_neighbours_hold_no_more_than_some_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """All distances of 2,000 images are 16 MB, and a block of 50 rows is 0.4 MB."""
    features = np.random.default_rng(4).normal(size=(2000, 8)).astype(np.float32)
    monkeypatch.setattr("paribus.audit.grouping._BLOCK", 50)
    tracemalloc.start()
    try:
        neighbours(features)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6e6


def test_with_weights_nothing_stays_unseen_but_groups(tmp_path: Path, fresh_cache: Path) -> None:
    files = clean(10) | {"test/cat/z.png": saved(photo(0).crop((2, 2, 62, 62)))}
    options = Options(weights=str(write_weights(tmp_path)))
    first = audited(tmp_path, files, options)
    assert [each.partition(":")[0] for each in first.unseen] == ["Groups by name"]
    cached = sorted((fresh_cache / "features").iterdir())
    assert cached
    assert examine(str(tmp_path / "photos"), options) == first
    assert sorted((fresh_cache / "features").iterdir()) == cached


def test_too_few_images_for_features_are_told(tmp_path: Path, fresh_cache: Path) -> None:
    files = {"train/cat/a.png": saved(photo(1)), "train/dog/b.png": saved(photo(2))}
    files |= {"test/cat/c.png": saved(photo(3)), "test/dog/d.png": b""}
    audit = audited(tmp_path, files, Options(weights=str(write_weights(tmp_path))))
    assert audit.unseen[1:] == (
        "Neighbours in the features of a backbone: 3 images are too few.",
        "Doubtful labels: this needs at least two classes with at least two images that can be read.",
    )
    assert fresh_cache.is_dir()


# Real data


@pytest.mark.real_data
def test_sign_digits_shares_39_of_40_test_groups_with_train(data_folder: Path) -> None:
    audit = examine("sign-digits", Options(data_dir=data_folder))
    found = the(audit, "groups-in-train-and-test")
    assert found.severity == "error"
    assert found.sentence.startswith("39 of the 40 groups of test have images in train too, 49 of 50 images of test:")
    named = {image.note.removeprefix("group ").partition(",")[0] for image in found.images}
    assert len(named) == 39
    assert all(f" {name}," in found.sentence or f" {name}." in found.sentence for name in named)
    assert not [kind for kind in kinds(audit) if "copies" in kind]
    assert the(audit, "odd-sizes").paths == tuple(f"train/7/IMG_{n}.JPG" for n in (5874, 5935, 5978))


@pytest.mark.real_data
def test_dogs_vs_cats_has_no_copies_and_its_numbers_name_no_groups(data_folder: Path) -> None:
    audit = examine("dogs-vs-cats", Options(data_dir=data_folder))
    assert kinds(audit) == ["odd-sizes"]
    assert audit.unseen[0].startswith("Groups by name")


@pytest.mark.real_data
@pytest.mark.slow
def test_a_mirrored_photo_is_found_and_no_other_pair(tmp_path: Path, data_folder: Path) -> None:
    real_weights("mobilenetv2_100.tf_in1k")
    source = data_folder / "dogs-vs-cats"
    chosen = sorted((source / "train").rglob("*.jpg"))[::4] + sorted((source / "test").rglob("*.jpg"))[::15]
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in chosen}
    first = min(path for path in files if path.startswith("train"))
    mirrored = f"test/{first.split('/')[1]}/mirrored.jpg"
    files[mirrored] = saved(ImageOps.mirror(Image.open(io.BytesIO(files[first]))), "jpeg", quality=90)
    audit = audited(tmp_path, files, Options(weights="mobilenetv2_100.tf_in1k"))
    assert set(the(audit, "neighbours-across-splits").paths) == {first, mirrored}
