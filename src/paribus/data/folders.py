"""Folders or zips of class folders: `train/<class>/*`, `test/<class>/*` and perhaps `val/<class>/*`, or `<class>/*`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from paribus.data.archive import Archive, Parts, open_archive
from paribus.data.reader import SPLIT_OF, SPLITS, file_digest
from paribus.data.samples import ImageFiles, Sample, some
from paribus.errors import DataError

Layout = dict[str, dict[str, list[Parts]]]
"""By split, by class: the files, sorted. One split without a name, where class folders lie at the top."""


@dataclass(frozen=True)
class ImageFolders(ImageFiles):
    """A folder or zip with train and test folders, each with one folder of images per class.

    The validation folder may be called val, valid or validation; case does not matter. Without any split folder the
    class folders lie at the top, and `Reading.test` draws the test split. Classes are sorted by name unless `classes`
    gives their order.
    """

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the digest of each file, or the zip's."""
        if not self.path.is_dir():
            yield "zip", file_digest(self.path)
            return
        with self.opened() as archive:
            self._layout(archive)  # Before a folder that is no data set, such as a home, is read whole.
            for parts in archive.listing()[0]:
                yield "/".join(parts), file_digest(self.path.joinpath(*parts))

    def opened(self) -> AbstractContextManager[Archive]:
        """Open the folder or zip."""
        return open_archive(self.path)

    def samples(self, archive: Archive) -> list[Sample]:
        """Return every file of every class folder."""
        return [
            Sample(file, name, split or None)
            for split, classes in self._layout(archive).items()
            for name, files in classes.items()
            for file in files
        ]

    def _layout(self, archive: Archive) -> Layout:
        return find_layout(archive, may_lack_splits=self.how.test is not None)


def find_layout(archive: Archive, *, may_lack_splits: bool = False) -> Layout:
    """Return the image files by split and class; a single folder around everything is entered.

    Args:
        archive: What holds them.
        may_lack_splits: Whether class folders may lie at the top.

    Raises:
        DataError: If train or test is missing, a class has no images, or the splits differ in their classes.
    """
    files, folders = archive.listing()
    root = _root(folders, {file[:-1] for file in files})
    below = sorted(each for each in folders if len(each) == len(root) + 1 and each[:-1] == root)
    if may_lack_splits and not any(each[-1].lower() in SPLIT_OF for each in below):
        splits = {"": root}
    else:
        splits = _split_folders(archive, below)
    layout: Layout = {}
    for split, folder in splits.items():
        classes: dict[str, list[Parts]] = {each[-1]: [] for each in folders if each[:-1] == folder}
        for file in files:
            if file[: len(folder)] == folder and (split or len(file) > len(folder) + 1):
                _class_of(archive, split, file, len(folder), classes).append(file)
        layout[split] = classes
    _require_same_classes(archive, layout)
    return layout


def _root(folders: Collection[Parts], filled: Collection[Parts]) -> Parts:
    """Enter folders that hold nothing but one folder; one with files of its own may be a class."""
    root: Parts = ()
    while True:
        below = [each for each in folders if each[:-1] == root and len(each) == len(root) + 1]
        if len(below) != 1 or below[0][-1].lower() in SPLIT_OF or below[0] in filled:
            return root
        root = below[0]


def _split_folders(archive: Archive, below: Sequence[Parts]) -> dict[str, Parts]:
    by_split: dict[str, list[Parts]] = {}
    for each in below:
        by_split.setdefault(SPLIT_OF.get(each[-1].lower(), ""), []).append(each)
    missing = [split for split in ("train", "test") if split not in by_split]
    if missing:
        raise DataError(
            f"`{archive.path}` must hold train/ and test/ with one folder per class in each (and may hold val/), but "
            f"{' and '.join(missing)} cannot be found beside {some([each[-1] for each in below])}. "
            "A test split must be there: set images aside that no training ever sees, or have them drawn from class "
            "folders: set `data.test`, for example to 0.2."
        )
    for split, found in by_split.items():
        if split == "" or len(found) > 1:
            raise DataError(
                f"`{archive.path}` must hold one folder each for train, test and perhaps val, but it also has "
                f"{some(['/'.join(each) for each in found])}. Rename or remove what is no split."
            )
    return {split: by_split[split][0] for split in SPLITS if split in by_split}


def _class_of(archive: Archive, split: str, file: Parts, depth: int, classes: Mapping[str, list[Parts]]) -> list[Parts]:
    if len(file) != depth + 2:
        raise DataError(
            f"Images must lie as {'split/' if split else ''}class/image, but `{archive.path}` holds "
            f"`{'/'.join(file)}`. Move it into the folder of its class."
        )
    return classes[file[depth]]


def _require_same_classes(archive: Archive, layout: Layout) -> None:
    folders = {f"{split}/{name}": files for split, classes in layout.items() for name, files in classes.items()}
    empty = [folder.lstrip("/") for folder, files in folders.items() if not files]
    if empty:
        raise DataError(
            f"Every class folder must hold images, but in `{archive.path}` there are none in {some(sorted(empty))}. "
            "Add images or remove the folder from every split."
        )
    first = next(iter(layout))
    if not layout[first]:
        raise DataError(
            f"`{archive.path}` must hold class folders with images, but {f'its {first} folder' if first else 'it'} has "
            "none. Put the images of each class into a folder of its name."
        )
    for split, classes in layout.items():
        missing, extra = sorted(set(layout[first]) - set(classes)), sorted(set(classes) - set(layout[first]))
        if missing or extra:
            raise DataError(
                f"All splits of `{archive.path}` must have the same classes, but {split} lacks {some(missing)} and "
                f"has {some(extra)} that {first} lacks. Names must match to the letter."
            )
