"""Sidecars and the hub: what is found, what is refused, and how the refusal helps."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from paribus.errors import WeightsError
from paribus.transfer import build_backbone, find_weights, named_weights
from pretrained import CLASSES, SIZE, real_weights, write_weights


def test_a_sidecar_says_it_all(tmp_path: Path) -> None:
    found = find_weights(str(write_weights(tmp_path, tag="x", origin="made here", num_features=96)))
    assert (found.source, found.architecture, found.num_classes, found.num_features) == ("file", "test_resnet", 7, 96)
    assert (found.input_size, found.mean, found.std) == ((3, SIZE, SIZE), (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    assert (found.interpolation, found.crop_pct, found.image_size) == ("bilinear", 0.8, 40)
    assert (found.licence, found.origin, found.labels) == ("apache-2.0", "made here", tuple("abcdefg"))
    assert found.file == tmp_path / "tiny.safetensors"
    assert found.sha256 == hashlib.sha256(found.file.read_bytes()).hexdigest()


def test_weights_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, folder = tmp_path / "empty", tmp_path / "weights"
    empty.mkdir()
    folder.mkdir()
    whole = find_weights(str(write_weights(folder, "tiny.v1")))
    monkeypatch.setenv("PARIBUS_WEIGHTS", f"{empty}:{folder}")
    monkeypatch.chdir(empty)
    assert find_weights("tiny.v1") == find_weights("tiny.v1.json", "test_resnet") == whole
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PARIBUS_WEIGHTS")
    assert find_weights("tiny.v1").sha256 == whole.sha256


def test_the_digest_is_of_what_the_network_computes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = find_weights(str(write_weights(tmp_path / "a")))
    told = find_weights(str(write_weights(tmp_path / "b", origin="elsewhere", pretrained_on="photos")))
    assert told.digest == first.digest and told.pretrained_on == "photos"
    assert find_weights(str(write_weights(tmp_path / "c", mean=[0.5, 0.4, 0.4]))).digest != first.digest


def test_a_tampered_file_is_refused(tmp_path: Path) -> None:
    sidecar = write_weights(tmp_path)
    file = tmp_path / "tiny.safetensors"
    find_weights(str(sidecar))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"must have the SHA-256 .* but has .* fetch it again"):
        find_weights(str(sidecar))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"licence": "mit"}, r"has the unknown key `licence`\. Did you mean `license`\? Known keys: architecture, "),
        ({"sha256": None}, r"must hold the key `sha256`, but does not\. Add it\."),
        ({"crop_pct": 2}, r"`crop_pct` in .* is not valid: .*less than or equal to 1.*, but got 2\. Correct it\."),
        ({"mean": [0.5]}, r"must have one number per channel, 3, but have 1 and 3"),
        ({"file": "tiny.pth"}, r"must be a \.safetensors file, but .* names `tiny\.pth`\. Loading any other form may"),
        ({"file": "other.safetensors"}, r"`file` of .* must name a file beside it, but there is no `other.safetens"),
        ({"file": "../tiny.safetensors"}, r"`file` of .* must name a file beside it"),
        ({"labels": "names.txt"}, r"`labels` of .* must name a file beside it, but there is no `names.txt`"),
        ({"labels": ""}, r"`labels` of .* must name a file beside it, but there is no `` in"),
        ({"labels": "."}, r"`labels` of .* must name a file beside it, but there is no `\.` in"),
        ({"labels": "tiny.safetensors"}, r"must be readable text in UTF-8, one line per class, but is not: 'utf-8' co"),
        ({"num_classes": CLASSES + 1}, r"must hold one line per class, 8, but holds 7"),
    ],
)
def test_a_faulty_sidecar_is_refused(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    good = write_weights(tmp_path)
    content = json.loads(good.read_text(encoding="utf-8")) | changes
    (tmp_path / "bad.json").write_text(
        json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8"
    )
    with pytest.raises(WeightsError, match=text):
        find_weights(str(tmp_path / "bad.json"))


def test_an_architecture_that_timm_lacks_is_refused_when_it_is_built(tmp_path: Path) -> None:
    sidecar = write_weights(tmp_path)
    content = json.loads(sidecar.read_text(encoding="utf-8")) | {"architecture": "test_resnett"}
    sidecar.write_text(json.dumps(content), encoding="utf-8")
    weights = find_weights(str(sidecar))
    with pytest.raises(WeightsError, match=r"of timm, but got `test_resnett`\. Did you mean `test_resnet`\?"):
        build_backbone(weights, 0)


def test_what_is_no_sidecar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARIBUS_WEIGHTS", str(tmp_path))
    write_weights(tmp_path)
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"text\.json` must hold JSON, but does not: .* Correct it"):
        find_weights("text.json")
    with pytest.raises(WeightsError, match=r"must be named by their JSON sidecar, but got .*tiny\.safetensors`"):
        find_weights("tiny.safetensors")
    with pytest.raises(WeightsError, match=rf'but there is none in `\.`, `{re.escape(str(tmp_path))}`\. Give .*"hub"'):
        find_weights("missing")
    with pytest.raises(WeightsError, match=r"there is none in .*\. Give the path of one, or \"hub:NAME\" for"):
        named_weights("missing")
    with pytest.raises(WeightsError, match=r"there is none in .*\. Put it there\.$"):
        find_weights("missing", instead="Put it there.")
    with pytest.raises(WeightsError, match=r"it is `resnet18\.a1_in1k`, and .* is for `test_resnet`\. Name that"):
        find_weights("tiny", "resnet18.a1_in1k")
    assert find_weights("tiny", None).architecture == "test_resnet"


@pytest.mark.parametrize(("name", "place"), [(".", "."), ("/", "/"), ("./", ".")])
def test_a_folder_without_a_name_is_no_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_weights(tmp_path)  # Its sidecar is tiny.json, which `.` in the folder tiny does not name.
    monkeypatch.setenv("PARIBUS_WEIGHTS", str(folder))
    searched = f"`{place}`, `{folder if place == '.' else place}`"
    with pytest.raises(WeightsError, match=re.escape(f"but there is none in {searched}. Give the path of one")):
        find_weights(name)


def test_labels_that_may_not_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = write_weights(tmp_path)

    def read_text(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(
        WeightsError, match=r"labels\.txt` must be readable text .* is not: Permission denied\. Save it"
    ):
        find_weights(str(sidecar))


def test_from_scratch_has_timms_preprocessing() -> None:
    found = find_weights("none", "mobilenetv2_100")
    assert (found.source, found.num_classes, found.file, found.sha256) == ("none", 0, None, None)
    assert found.input_size == (3, 224, 224) and found.crop_pct == 0.875 and found.image_size == 256
    with pytest.raises(WeightsError, match=r'Weights "none" must come with the name of an architecture'):
        find_weights("none")
    with pytest.raises(WeightsError, match=r"got `mobilenetv2-100`\. Did you mean `mobilenetv2_100`\?"):
        find_weights("none", "mobilenetv2-100")


def test_the_hub_gives_a_verified_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(tmp_path)
    asked = []

    def download(repository: str, file: str, *, local_files_only: bool) -> str:
        asked.append((repository, file, local_files_only))
        return str(tmp_path / "tiny.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.delenv("PARIBUS_OFFLINE", raising=False)
    found = find_weights("hub", "test_resnet.r160_in1k")
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors", False)]
    assert (found.source, found.input_size, found.num_classes) == ("hub", (3, 160, 160), 1000)
    assert found.labels is not None and found.labels[151] == "Chihuahua"
    assert found.sha256 == hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    assert named_weights("hub:test_resnet.r160_in1k") == found
    assert named_weights(str(tmp_path / "tiny.json")) == find_weights(str(tmp_path / "tiny.json"))


@pytest.mark.parametrize("name", ["hub", "hub:", "none"])
def test_one_text_must_name_a_network_of_the_hub(name: str) -> None:
    with pytest.raises(WeightsError, match=f'a sidecar or "hub:NAME", but got "{name}". Name timm'):
        named_weights(name)


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no route"), EntryNotFoundError("gone")])
def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.delenv("PARIBUS_OFFLINE", raising=False)
    monkeypatch.delenv("PARIBUS_WEIGHTS", raising=False)
    with pytest.raises(
        WeightsError, match=r"failed: \w+( \w+)?\. Give the .* JSON sidecar .* PARIBUS_WEIGHTS has none"
    ):
        find_weights("hub", "test_resnet")
    write_weights(tmp_path)
    monkeypatch.setenv("PARIBUS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"docs/photos.md shows one; PARIBUS_WEIGHTS has tiny\), or go"):
        find_weights("hub", "test_resnet")
    monkeypatch.setenv("PARIBUS_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"is not here, and PARIBUS_OFFLINE forbids downloading it"):
        find_weights("hub", "test_resnet")


def test_weights_that_the_hub_has_not() -> None:
    with pytest.raises(WeightsError, match=r"has no `test_resnet\.r160_in2k`\. Did you mean `test_resnet\.r160_in1k`"):
        find_weights("hub", "test_resnet.r160_in2k")
    with pytest.raises(WeightsError, match=r"The hub must hold `resnet50t` as a \.safetensors file, but timm names"):
        find_weights("hub", "resnet50t")


@pytest.mark.real_data
def test_real_sidecars() -> None:
    found = real_weights("mobilenetv2_100.tf_in1k")
    assert (found.num_classes, found.num_features, found.image_size) == (1000, 1280, 256)
    assert found.labels is not None and (found.labels[151], found.labels[281]) == ("Chihuahua", "tabby, tabby cat")
