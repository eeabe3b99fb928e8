"""Tables of image files: a .csv with the columns path and label, and perhaps split and group."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath

from paribus.data.archive import Archive, open_archive
from paribus.data.reader import SPLIT_OF, file_digest, readable
from paribus.data.samples import ImageFiles, Sample, some
from paribus.errors import DataError, nearest

COLUMNS = ("path", "label", "split", "group")


@dataclass(frozen=True)
class CsvFile(ImageFiles):
    """A .csv in UTF-8 with a heading. `path` is relative to its folder; `split` is train, val or test.

    Without a split column `Reading.test` draws the test split. `group` names who or what an image shows. A column that
    is there has a value in every line.
    """

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the digest of the table, and of each file in it that is there."""
        yield "csv", file_digest(self.path)
        for sample in self._rows():
            file = self.path.parent.joinpath(*sample.file)
            if file.is_file():  # One that is not is told with all that cannot be read.
                yield sample.path, file_digest(file)

    def opened(self) -> AbstractContextManager[Archive]:
        """Open the folder that the table lies in."""
        return open_archive(self.path.parent)

    def samples(self, archive: Archive) -> list[Sample]:
        """Return the table's rows."""
        rows = self._rows()
        twice = sorted(path for path, rows_of_it in Counter(row.path for row in rows).items() if rows_of_it > 1)
        if twice:
            raise DataError(
                f"Every image must have one row, but `{self.path}` has several for {some(twice)}. Keep one of each."
            )
        return rows

    def _rows(self) -> list[Sample]:
        try:
            with readable(self.path), self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                self._require_columns(list(reader.fieldnames or ()))
                return [self._sample(reader.line_num, row) for row in reader]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"`{self.path}` must be a table of comma-separated UTF-8, but is not: {error}. Save it so."
            ) from None

    def _require_columns(self, found: list[str]) -> None:
        unknown = [name for name in found if name not in COLUMNS]
        missing = [name for name in COLUMNS[:2] if name not in found]
        if unknown or missing:
            raise DataError(
                f"The first line of `{self.path}` must name the columns path and label, and perhaps split and group, "
                f"but it names {some(found)}.{nearest(unknown[0], COLUMNS) if unknown else ''} "
                "Name its columns so."
            )

    def _sample(self, line: int, row: dict[str | None, str | None]) -> Sample:
        lacking = [name for name in COLUMNS if name in row and not (row[name] or "").strip()]
        if lacking or None in row:
            raise DataError(
                f"Every line of `{self.path}` must have a {' and a '.join(lacking) or 'value for each column'}, but "
                f"line {line} has {'none' if lacking else 'more'}. Correct that line."
                f"{' An image that belongs to no other has a group of its own.' if 'group' in lacking else ''}"
            )
        path, label, split = row["path"] or "", row["label"] or "", row.get("split")
        if split is not None and split.lower() not in SPLIT_OF:
            raise DataError(
                f"A split must be train, val or test, but line {line} of `{self.path}` has `{split}`. Correct that "
                "line."
            )
        given = None if split is None else SPLIT_OF[split.lower()]
        return Sample(PurePath(path).parts, label, given, row.get("group"))
