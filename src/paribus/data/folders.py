"""Folders or zips of class folders: `train/<class>/*.png`, `test/<class>/*.png` and, where there is one, `val/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.data.archive import Archive, Parts, open_archive
from paribus.data.dataset import Dataset, Split
from paribus.data.pixels import decode
from paribus.data.reader import SPLITS, Reader, file_digest
from paribus.errors import DataError

Layout = dict[str, dict[str, list[Parts]]]
"""By split, by class: the files, sorted."""

_LISTED = 10
_LARGEST_SIDE = 1024


@dataclass(frozen=True)
class ImageFolders(Reader):
    """A folder or zip with train and test folders, each with one folder of images per class.

    The validation folder may be called val, valid or validation; case does not matter. Images are grey if all of them
    are, else RGB. Classes are sorted by name unless `classes` gives their order.
    """

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the digest of each file, or the zip's."""
        if not self.path.is_dir():
            yield "zip", file_digest(self.path)
            return
        with open_archive(self.path) as archive:
            find_layout(archive)  # Before a folder that is no data set, such as a home, is read whole.
            for parts in archive.listing()[0]:
                yield "/".join(parts), file_digest(self.path.joinpath(*parts))

    def read(self, size: int | None = None) -> Dataset:
        """Decode every image file."""
        with open_archive(self.path) as archive:
            layout = find_layout(archive)
            names = self._class_names(layout["train"])
            labelled = {
                split: [(label, file) for label, name in enumerate(names) for file in classes[name]]
                for split, classes in layout.items()
            }
            images = _decode_all(archive, [file for pairs in labelled.values() for _, file in pairs], size)
        channels = 3 if any(image.ndim == 3 for image in images.values()) else 1
        splits = {}
        for split, pairs in labelled.items():
            labels = np.array([label for label, _ in pairs], dtype=np.int64)
            splits[split] = Split(_stacked([images[file] for _, file in pairs], channels), labels)
        return self._dataset(splits, size, names)

    def _class_names(self, found: Collection[str]) -> tuple[str, ...]:
        if self.classes is None:
            return tuple(sorted(found))
        missing, unknown = sorted(set(self.classes) - set(found)), sorted(set(found) - set(self.classes))
        if missing or unknown:
            raise DataError(
                f"`{self.path}` must hold the {len(self.classes)} classes of {self.name}, but it lacks "
                f"{_some(missing)} and has {_some(unknown)} besides. Fetch it again, or give it as a data set of "
                "your own by its path."
            )
        return self.classes


def find_layout(archive: Archive) -> Layout:
    """Return the image files by split and class; a single folder around everything is entered.

    Raises:
        DataError: If train or test is missing, a class has no images, or the splits differ in their classes.
    """
    files, folders = archive.listing()
    root = _root(folders)
    splits = _split_folders(archive, root, folders)
    layout: Layout = {}
    for split, folder in splits.items():
        classes: dict[str, list[Parts]] = {each[-1]: [] for each in folders if each[:-1] == folder}
        for file in files:
            if file[: len(folder)] == folder:
                _class_of(archive, file, len(folder), classes).append(file)
        layout[split] = classes
    _require_same_classes(archive, layout)
    return layout


def _root(folders: Collection[Parts]) -> Parts:
    root: Parts = ()
    while True:
        below = [each for each in folders if each[:-1] == root and len(each) == len(root) + 1]
        if len(below) != 1 or below[0][-1].lower() in _SPLIT_OF:
            return root
        root = below[0]


def _split_folders(archive: Archive, root: Parts, folders: Collection[Parts]) -> dict[str, Parts]:
    below = sorted(each for each in folders if len(each) == len(root) + 1 and each[:-1] == root)
    by_split: dict[str, list[Parts]] = {}
    for each in below:
        by_split.setdefault(_SPLIT_OF.get(each[-1].lower(), ""), []).append(each)
    missing = [split for split in ("train", "test") if split not in by_split]
    if missing:
        raise DataError(
            f"`{archive.path}` must hold train/ and test/ with one folder per class in each (and may hold val/), but "
            f"{' and '.join(missing)} cannot be found beside {_some([each[-1] for each in below])}. "
            "A test split must be there: set images aside that no training ever sees."
        )
    for split, found in by_split.items():
        if split == "" or len(found) > 1:
            raise DataError(
                f"`{archive.path}` must hold one folder each for train, test and perhaps val, but it also has "
                f"{_some(['/'.join(each) for each in found])}. Rename or remove what is no split."
            )
    return {split: by_split[split][0] for split in SPLITS if split in by_split}


def _class_of(archive: Archive, file: Parts, depth: int, classes: Mapping[str, list[Parts]]) -> list[Parts]:
    if len(file) != depth + 2:
        raise DataError(
            f"Images must lie as split/class/image, but `{archive.path}` holds `{'/'.join(file)}`. Move it into the "
            "folder of its class."
        )
    return classes[file[depth]]


def _require_same_classes(archive: Archive, layout: Layout) -> None:
    empty = [f"{split}/{name}" for split, classes in layout.items() for name, files in classes.items() if not files]
    if empty:
        raise DataError(
            f"Every class folder must hold images, but in `{archive.path}` there are none in {_some(sorted(empty))}. "
            "Add images or remove the folder from every split."
        )
    if not layout["train"]:
        raise DataError(
            f"`{archive.path}` must hold class folders with images, but its train folder is empty. Add some."
        )
    for split, classes in layout.items():
        missing, extra = sorted(set(layout["train"]) - set(classes)), sorted(set(classes) - set(layout["train"]))
        if missing or extra:
            raise DataError(
                f"All splits of `{archive.path}` must have the same classes, but {split} lacks {_some(missing)} and "
                f"has {_some(extra)} that train lacks. Names must match to the letter."
            )


def _decode_all(archive: Archive, files: Sequence[Parts], size: int | None) -> dict[Parts, npt.NDArray[np.uint8]]:
    images: dict[Parts, npt.NDArray[np.uint8]] = {}
    sizes: Counter[tuple[int, ...]] = Counter()
    unreadable: dict[Parts, str] = {}
    for file in files:
        try:
            image = decode(archive.read(file), size)
        except DataError as error:
            unreadable[file] = str(error)
            continue
        sizes[image.shape[1::-1]] += 1
        # Pixels of unequal sizes end in an error below: do not fill the memory with them.
        if len(sizes) == 1 and max(image.shape) <= _LARGEST_SIDE:
            images[file] = image
    _require_readable(archive, unreadable, len(files))
    _require_one_size(archive, sizes)
    return images


def _require_readable(archive: Archive, unreadable: Mapping[Parts, str], count: int) -> None:
    if not unreadable:
        return
    lines = [f"\n  {'/'.join(file)}: {reason}" for file, reason in list(unreadable.items())[:_LISTED]]
    more = f"\n  and {len(unreadable) - _LISTED} more" if len(unreadable) > _LISTED else ""
    raise DataError(
        f"All images must be readable, but {len(unreadable)} of the {count} files in `{archive.path}` are not. Mend or "
        f"remove them:{''.join(lines)}{more}"
    )


def _require_one_size(archive: Archive, sizes: Counter[tuple[int, ...]]) -> None:
    listed = [f"{width}x{height} ({count})" for (width, height), count in sizes.most_common()]
    if len(sizes) > 1:
        raise DataError(
            f"Images must all be of one size, but `{archive.path}` holds {len(sizes)} sizes: {_some(listed)}. "
            "Set `data.size`, for example to 64, to resize all of them to 64x64 pixels."
        )
    if max(next(iter(sizes))) > _LARGEST_SIDE:
        raise DataError(
            f"Images must be at most {_LARGEST_SIDE} pixels wide and high, but those of `{archive.path}` are "
            f"{listed[0]}. Set `data.size`, for example to 64."
        )


def _stacked(images: Sequence[npt.NDArray[np.uint8]], channels: int) -> npt.NDArray[np.uint8]:
    result = np.empty((len(images), channels, *images[0].shape[:2]), dtype=np.uint8)
    for target, image in zip(result, images, strict=True):
        target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return result


def _some(names: Sequence[str]) -> str:
    """Join the first few names."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "none") + more


_SPLIT_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
