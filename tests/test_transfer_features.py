"""Frozen features: the same bits from the cache as without it, by whichever backend, and never another's."""

from __future__ import annotations

import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from paribus.data.pixels import decode
from paribus.errors import DataError, ModelError
from paribus.transfer import Backbone, Extractor, Features, View, build_backbone, feature_cache, find_weights
from paribus.transfer import backbone as backbone_module
from paribus.transfer import features as module
from paribus.transfer.feature_cache import Backend, has_any
from pretrained import SIZE, real_weights, tiny_weights

Images = npt.NDArray[np.uint8]


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return build_backbone(tiny_weights(tmp_path), 0)


@pytest.fixture
def images() -> Images:
    """Return 19: nine whole batches and a part."""
    return np.random.default_rng(0).integers(0, 256, (19, 3, 40, 40), dtype=np.uint8)


def _files(cache: Path) -> list[Path]:
    return sorted((cache / "features").glob("*/*.npy"))


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_cached_is_uncached_bit_for_bit(
    backbone: Backbone, images: Images, fresh_cache: Path, backend: Backend
) -> None:
    plain = Extractor(backbone, backend).features(images)
    assert _files(fresh_cache) == [] and not plain.cached
    first = Extractor(backbone, backend).features(images, "0f/train")
    second = Extractor(backbone, backend).features(images, "0f/train")
    assert (first.cached, second.cached) == (False, True)
    assert first.backend == second.backend == plain.backend == backend
    assert plain.values.tobytes() == first.values.tobytes() == second.values.tobytes()
    assert plain.values.dtype == np.float32 and plain.values.shape == (19, 96) == second.values.shape
    assert len(_files(fresh_cache)) == 1


def test_they_are_what_the_network_gives(backbone: Backbone, images: Images) -> None:
    with torch.no_grad():
        wanted = backbone.network(backbone.preprocessing.apply(torch.from_numpy(images))).numpy()
    assert wanted.std() > 0.1
    for backend in _BOTH:
        extractor = Extractor(backbone, backend)
        np.testing.assert_allclose(extractor.features(images).values, wanted, rtol=1e-4, atol=1e-4)
        assert extractor.refusal is None


def test_an_image_has_its_features_whoever_is_beside_it(backbone: Backbone, images: Images) -> None:
    extractor = Extractor(backbone)
    whole = extractor.features(images).values
    assert extractor.features(images[16:17]).values.tobytes() == whole[16:17].tobytes()
    assert extractor.features(images[:0]).values.shape == (0, 96)


def test_what_decides_features_decides_where_they_are_kept(
    tmp_path: Path, backbone: Backbone, images: Images, fresh_cache: Path
) -> None:
    def computed(which: Backbone, source: str = "0f/train", view: View | None = None) -> bool:
        return not Extractor(which, "torch").features(images, source, view).cached

    assert not has_any(backbone.digest)
    assert computed(backbone) and not computed(backbone)
    assert has_any(backbone.digest)
    assert computed(backbone, "0f/val")
    assert computed(backbone, view=View("same", lambda some, _: some))
    (tmp_path / "other").mkdir()
    assert computed(build_backbone(tiny_weights(tmp_path / "other", mean=[0.1, 0.2, 0.3]), 0))
    assert computed(build_backbone(backbone.weights, 0, size=SIZE + 1))
    assert computed(build_backbone(backbone.weights, 0, own_head=True))
    assert not computed(build_backbone(backbone.weights, 1)), "weights that are loaded owe nothing to a seed"
    assert len(_files(fresh_cache)) == 6


@pytest.mark.parametrize("package", ["torch", "timm", "onnxruntime"])
def test_other_versions_of_what_computes_features_have_others(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = feature_cache.Wanted("backbone", "0f/train", (19, 3, 40, 40))
    before = wanted.digest
    assert wanted.digest == before
    monkeypatch.setattr(feature_cache, "version", lambda name: "0.0.1" if name == package else version(name))
    assert wanted.digest != before


def test_features_are_kept_where_onnxruntime_or_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        if name != "torch":
            raise PackageNotFoundError(name)
        return "2.14.0"

    monkeypatch.setattr(feature_cache, "version", missing)
    assert feature_cache._versions() == "torch 2.14.0"


def test_a_backbone_that_has_moved_is_refused_even_where_its_features_are_kept(
    backbone: Backbone, images: Images, fresh_cache: Path
) -> None:
    extractor = Extractor(backbone, "torch")
    extractor.features(images, "0f/train")
    with torch.no_grad():
        next(iter(backbone.network.parameters()))[0, 0, 0, 0] += 1
    with pytest.raises(ModelError, match=r"A frozen network must not move, but 1 of its \d+ parameters and buffers"):
        extractor.features(images, "0f/train")


def test_views_change_images_before_they_are_cropped(backbone: Backbone, images: Images) -> None:
    extractor = Extractor(backbone, "torch")
    asked: list[Tensor] = []

    def flipped(some: Tensor, indices: Tensor) -> Tensor:
        asked.append(indices)
        assert some.dtype == torch.uint8 and some.shape[1:] == (3, 40, 40)
        return some.flip(3)

    found = extractor.features(images, view=View("flipped", flipped)).values
    assert torch.cat(asked[1:]).tolist() == list(range(19))
    assert found.tobytes() == extractor.features(np.ascontiguousarray(images[..., ::-1])).values.tobytes()
    assert found.tobytes() != extractor.features(images).values.tobytes()


def test_torch_serves_where_onnxruntime_differs(
    backbone: Backbone, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module._by_onnxruntime
    monkeypatch.setattr(module, "_by_onnxruntime", lambda session, batch: honest(session, batch) * np.float32(1.01))
    extractor = Extractor(backbone)
    assert extractor.features(images).backend == "torch"
    assert extractor.refusal is not None and "its features differ from torch's by" in extractor.refusal
    with pytest.raises(ModelError, match=r"must serve where it is insisted on, but cannot: its features differ"):
        Extractor(backbone, "onnxruntime").features(images)


def test_torch_serves_where_onnxruntime_fails_or_is_missing(
    backbone: Backbone, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_graph", lambda *_: b"no graph")
        extractor = Extractor(backbone)
        assert extractor.features(images).backend == "torch" and "InvalidProtobuf" in str(extractor.refusal)
    monkeypatch.setitem(sys.modules, "onnxruntime.capi", None)
    extractor = Extractor(backbone)
    assert extractor.features(images).backend == "torch" and "it cannot be imported" in str(extractor.refusal)


def test_onnxruntime_takes_a_batch_per_core_at_once_which_decides_no_bit(
    backbone: Backbone, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor(backbone, "onnxruntime")
    extractor.batch_size, images = 9, images[:18]
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    alone = extractor.features(images)
    assert extractor._session.get_session_options().intra_op_num_threads == 1
    run, together = extractor._session.run, threading.Barrier(2, timeout=60)

    def run_together(*args: Any) -> Any:
        together.wait()  # Broken, unless two are here at once.
        return run(*args)

    monkeypatch.setattr(extractor._session, "run", run_together)
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    assert extractor.features(images).values.tobytes() == alone.values.tobytes()


@pytest.mark.parametrize("number", [4, 19])
def test_the_time_of_an_image_is_that_with_a_batch_for_every_core(
    backbone: Backbone, images: Images, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Images are taken again where there are fewer, none is filled up, and digests are made outside the clock."""
    extractor, said = Extractor(backbone, "torch"), list[str]()
    run, digests, clock, passed = extractor._run, backbone_module.state_digests, time.perf_counter, 0.0
    seen = backbone.preprocessing.apply(torch.from_numpy(images[:6]))

    def noted(batch: Tensor) -> npt.NDArray[np.float32]:
        nonlocal passed
        said.append(f"from {next(at for at in (0, 2, 4) if torch.equal(batch, seen[at : at + 2]))}")
        passed += 100
        return run(batch)

    def digested(network: nn.Module) -> dict[str, str]:
        nonlocal passed
        said.append("digests")
        passed += 1000
        return digests(network)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed)
    monkeypatch.setattr(module, "available_cores", lambda: 3)
    monkeypatch.setattr(extractor, "_run", noted)
    monkeypatch.setattr(backbone_module, "state_digests", digested)
    assert 50 <= extractor.seconds_per_image(images[:number]) < 60
    batches = ["from 0", "from 2", "from 0" if number == 4 else "from 4"]
    assert said == ["digests", *batches * (1 + module.TIMED_PASSES), "digests"]


def test_a_backbone_that_moves_gives_no_features(backbone: Backbone, images: Images, fresh_cache: Path) -> None:
    def moving(some: Tensor, _: Tensor) -> Tensor:
        backbone.network.train()
        return some

    with pytest.raises(ModelError, match=r"must stay in eval mode"):
        Extractor(backbone, "torch").features(images, "0f/train", View("moving", moving))
    assert _files(fresh_cache) == []


def test_a_damaged_cache_is_refused(backbone: Backbone, images: Images, fresh_cache: Path) -> None:
    extractor = Extractor(backbone, "torch")
    extractor.features(images, "0f/train")
    (file,) = _files(fresh_cache)
    np.save(file, np.zeros((3, 96), np.float32))
    with pytest.raises(DataError, match=r"must hold float32 features of 19 images, but holds float32 \(3, 96\)\. Del"):
        extractor.features(images, "0f/train")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"must hold features, but cannot be read: .* Delete this file and run again"):
        extractor.features(images, "0f/train")


def test_what_features_took_is_kept_with_them(backbone: Backbone, images: Images, fresh_cache: Path) -> None:
    extractor = Extractor(backbone, "torch")
    first, second = (extractor.features(images, "0f/train") for _ in range(2))
    assert first.seconds == second.seconds > 0
    cost = _files(fresh_cache)[0].with_suffix(".json")
    cost.write_text('{"seconds": 12.5}', encoding="utf-8")
    assert extractor.features(images, "0f/train").seconds == 12.5
    cost.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"must hold seconds, but cannot be read: KeyError.* Delete this file and run"):
        extractor.features(images, "0f/train")
    cost.unlink()
    assert not extractor.features(images, "0f/train").cached, "nobody knows what they took: they are computed again"


def test_a_cache_that_cannot_be_written(backbone: Backbone, images: Images, fresh_cache: Path) -> None:
    fresh_cache.mkdir()
    (fresh_cache / "features").write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match=r"The cache must be writable, but .* cannot be written: .* PARIBUS_CACHE"):
        Extractor(backbone, "torch").features(images, "0f/train")


def test_what_is_written_into_mapped_features_stays_in_the_process(
    backbone: Backbone, images: Images, fresh_cache: Path
) -> None:
    first = Extractor(backbone, "torch").features(images, "0f/train").values.copy()
    Extractor(backbone, "torch").features(images, "0f/train").values[:] = 0
    assert np.array_equal(Extractor(backbone, "torch").features(images, "0f/train").values, first)


def test_of_two_that_need_the_same_one_computes(
    backbone: Backbone, images: Images, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Features] = []
    second = Thread(target=lambda: others.append(Extractor(backbone, "torch").features(images, "0f/train")))

    extractor = Extractor(backbone, "torch")
    compute = extractor._compute

    def slowly(*given: Any) -> Any:
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive() and _files(fresh_cache) == []
        return compute(*given)

    monkeypatch.setattr(extractor, "_compute", slowly)
    first = extractor.features(images, "0f/train")
    second.join()
    assert not first.cached and others[0].cached
    assert first.values.tobytes() == others[0].values.tobytes()


@pytest.mark.real_data
def test_real_backbones_agree_on_real_images(data_folder: Path) -> None:
    files = sorted((data_folder / "dogs-vs-cats" / "train").glob("*/*.jpg"))[::40]
    if not files:
        pytest.skip("real data is needed: there is no dogs-vs-cats in the folder that PARIBUS_DATA names")
    images = np.stack([decode(file.read_bytes(), 72).transpose(2, 0, 1) for file in files])
    backbone = build_backbone(real_weights("mobilenetv2_100.tf_in1k"), 0, size=64)
    by_torch, by_other = (Extractor(backbone, each).features(images).values for each in _BOTH)
    assert np.abs(by_torch - by_other).max() < 1e-4 * by_torch.max() and by_torch.std() > 0.1


def test_from_scratch_backbones_have_features_too(images: Images) -> None:
    """A transformer, whose export warns about what it traces."""
    extractor = Extractor(build_backbone(find_weights("none", "test_vit"), 0, size=SIZE))
    assert extractor.features(images).values.shape == (19, 64) and extractor.refusal is None


_BOTH: tuple[Backend, ...] = ("torch", "onnxruntime")
