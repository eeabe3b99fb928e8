from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import arrays, class_files, write_files, write_idx
from paribus.config import DataConfig
from paribus.data import Prepared, load_prepared, prepare
from paribus.data.idx import IdxFolder
from paribus.errors import DataError
from paribus.testing.readers import check_dataset

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_idx(tmp_path / "source", arrays())


def test_what_comes_back_is_what_was_there(source: Path, fresh_cache: Path) -> None:
    prepared = prepare(DataConfig(name=str(source)))
    assert prepared == Prepared(fresh_cache / "prepared" / prepared.fingerprint, prepared.fingerprint, "source")
    dataset = load_prepared(prepared.folder)
    check_dataset(dataset)
    made = arrays()
    assert np.array_equal(dataset.train.images[:, 0], made["x_train"])
    assert np.array_equal(dataset.test.labels, made["y_test"])
    assert dataset.fingerprint == prepared.fingerprint and dataset.name == "source"


def test_val_and_class_names_come_back(tmp_path: Path) -> None:
    files = class_files(arrays())
    files |= {name.replace("test/", "valid/"): content for name, content in files.items() if name.startswith("test/")}
    dataset = load_prepared(prepare(DataConfig(name=str(write_files(tmp_path / "mine", files)))).folder)
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.val is not None and np.array_equal(dataset.val.images, dataset.test.images)


def test_the_second_time_nothing_is_decoded(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(DataConfig(name=str(source)))

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(IdxFolder, "read", refuse)
    assert prepare(DataConfig(name=str(source))) == first
    with pytest.raises(AssertionError, match="decoded again"):
        prepare(DataConfig(name=str(source), pad=1))


def test_the_fingerprint_follows_contents_size_and_pad_but_no_place(source: Path, tmp_path: Path) -> None:
    def fingerprint(path: Path, **keys: Any) -> str:
        return prepare(DataConfig(name=str(path), **keys)).fingerprint

    first = fingerprint(source)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(source, moved)
    assert fingerprint(moved) == first
    assert fingerprint(source, val=9, train_size=6) == first
    made = arrays()
    made["y_train"][0] = 1
    others = [fingerprint(source, size=8), fingerprint(source, pad=1), fingerprint(write_idx(moved, made))]
    assert len({first, *others}) == 4


def test_size_then_pad(source: Path) -> None:
    dataset = load_prepared(prepare(DataConfig(name=str(source), size=8, pad=2)).folder)
    assert dataset.image_shape == (1, 12, 12)
    assert not dataset.train.images[:, :, :2].any() and not dataset.train.images[..., -2:].any()
    assert dataset.train.images[:, :, 2:-2, 2:-2].any()


def test_pages_are_shared_and_writes_stay_private(source: Path) -> None:
    folder = prepare(DataConfig(name=str(source))).folder
    first, second = load_prepared(folder), load_prepared(folder)
    images = first.train.images
    assert type(images) is np.ndarray and isinstance(images.base, np.memmap) and not images.flags.owndata
    before = second.train.images.copy()
    images[:] = 0
    assert np.array_equal(second.train.images, before)
    assert np.array_equal(load_prepared(folder).train.images, before)


def _prepare_in_a_process(start: Any, source: Path, queue: Any) -> None:
    start.wait()
    queue.put(prepare(DataConfig(name=str(source))))


def test_two_processes_may_prepare_at_once(source: Path, fresh_cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_prepare_in_a_process, args=(start, source, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    first, second = queue.get(timeout=60), queue.get(timeout=60)
    for worker in workers:
        worker.join()
    assert first == second and [entry.name for entry in (fresh_cache / "prepared").iterdir()] == [first.fingerprint]
    check_dataset(load_prepared(first.folder))


def test_whoever_comes_second_takes_what_is_there(
    source: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process finishes between our look into the cache and our rename."""
    whole = prepare(DataConfig(name=str(source)))
    copy = shutil.copytree(whole.folder, fresh_cache / "copy")
    shutil.rmtree(whole.folder)
    read = IdxFolder.read

    def read_late(self: IdxFolder) -> Any:
        dataset = read(self)
        copy.rename(whole.folder)
        return dataset

    monkeypatch.setattr(IdxFolder, "read", read_late)
    assert prepare(DataConfig(name=str(source))) == whole
    assert [entry.name for entry in (fresh_cache / "prepared").iterdir()] == [whole.fingerprint]


def _failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, "Input/output")],
)
def test_a_cache_that_fills_up(
    source: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    monkeypatch.setattr(np, "save", _failing(number))
    with pytest.raises(DataError, match=f"The cache must be writable.*{text}.*PARIBUS_CACHE"):
        prepare(DataConfig(name=str(source)))
    assert not list((fresh_cache / "prepared").iterdir())


def test_a_cache_that_is_read_only(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", _failing(errno.EROFS))
    with pytest.raises(DataError, match=r"The cache must be writable.*Read-only.*PARIBUS_CACHE"):
        prepare(DataConfig(name=str(source)))


def test_a_folder_that_cannot_be_put_in_place(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", _failing(errno.EACCES))
    with pytest.raises(DataError, match=r"The cache must be writable.*Permission denied"):
        prepare(DataConfig(name=str(source)))


def test_a_damaged_cache_says_what_to_delete(source: Path, tmp_path: Path) -> None:
    folder = prepare(DataConfig(name=str(source))).folder
    images = folder / "train-images.npy"
    whole = images.read_bytes()
    images.write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"must hold a whole prepared data set.*Delete this folder"):
        load_prepared(folder)
    images.write_bytes(whole)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["class_names"]
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"must hold a whole prepared data set.*class_names"):
        load_prepared(folder)
    with pytest.raises(DataError, match="must hold a whole prepared data set"):
        load_prepared(tmp_path / "none")


def test_a_cache_that_cannot_be_read_is_no_damage(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(DataConfig(name=str(source))).folder
    monkeypatch.setattr(np, "load", _failing(errno.EIO))
    with pytest.raises(DataError, match=r"must be readable, but is not: Input/output error. Check its permissions"):
        load_prepared(folder)


def test_a_cache_whose_parts_were_deleted_is_prepared_anew(source: Path) -> None:
    folder = prepare(DataConfig(name=str(source))).folder
    (folder / "meta.json").unlink()
    (folder / "test-images.npy").unlink()
    assert prepare(DataConfig(name=str(source))).folder == folder
    assert load_prepared(folder).num_classes == 3


def test_what_an_older_version_prepared_is_prepared_anew(source: Path, fresh_cache: Path) -> None:
    folder = prepare(DataConfig(name=str(source))).folder
    meta = folder / "meta.json"
    content = json.loads(meta.read_text())
    content["decoder"] -= 1
    meta.write_text(json.dumps(content))
    (folder / "train-labels.npy").unlink()
    assert prepare(DataConfig(name=str(source))).folder == folder
    check_dataset(load_prepared(folder))
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    meta.write_text("{")
    assert prepare(DataConfig(name=str(source))).folder == folder, "damage is told and not mended"
    with pytest.raises(DataError, match="must hold a whole prepared data set"):
        load_prepared(folder)


def test_preparing_loads_no_torch(source: Path) -> None:
    code = (
        "import sys; from paribus.config import DataConfig; from paribus.data import prepare, load_prepared, draw; "
        f"config = DataConfig(name={str(source)!r}, val=6); draw(load_prepared(prepare(config).folder), config, 0); "
        "print([name for name in ('torch', 'torchvision', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
