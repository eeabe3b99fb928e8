"""The whole audit of one data set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.audit import composition, duplicates, files, grouping, labels
from paribus.audit.findings import Audit, Finding, worst_first
from paribus.data.reader import SPLITS, Reading
from paribus.data.samples import ImageFiles, Sample
from paribus.data.sources import locate
from paribus.errors import DataError
from paribus.wording import count

if TYPE_CHECKING:
    from paribus.transfer import Extractor


@dataclass(frozen=True)
class Options:
    """How to audit.

    `weights` names those of a backbone: a sidecar, or ``"hub:NAME"`` for timm's; without them nothing is looked at that
    needs features. `group` is what `data.group` may be. `data_dir` is the folder that is searched first.
    """

    weights: str | None = None
    group: str | None = None
    data_dir: Path | None = None


def find_files(data: str, data_dir: Path | None = None) -> ImageFiles:
    """Find a data set of image files, which is downloaded if it is a known one and missing.

    Raises:
        DataError: If it is missing, or holds arrays instead of image files.
    """
    reader = locate(data, data_dir)
    if not isinstance(reader, ImageFiles):
        raise DataError(
            f"An audit is of image files, in a folder, a zip or a table, but `{data}` holds arrays. Copies, counts and "
            "leaks in arrays are looked at by `paribus check` with an experiment."
        )
    # Whether a test split is still to be drawn is no fault of the files.
    return dataclasses.replace(reader, how=Reading(test=0.5))


def examine(data: str, options: Options = Options()) -> Audit:
    """Look for faults in a data set of image files.

    Test images are looked at like all others. That steers nothing: no model, setting or image is chosen by it, and the
    head that doubts labels is thrown away.

    Args:
        data: A known data set, or the path of a folder, a zip or a table.
        options: How.

    Raises:
        DataError: If the data set is missing, not laid out as it must be, or of arrays, or if its names do not allow
            the groups that `options` ask for.
        WeightsError: If the weights are missing or damaged.
        ModelError: If the backbone cannot serve.
    """
    extractor = None if options.weights is None else _extractor(options.weights)
    reader = find_files(data, options.data_dir)
    with reader.opened() as archive:
        samples = sorted(reader.samples(archive), key=_place)
        contents = files.look(archive, samples, extractor)
    unseen: list[str] = []
    found = list(_findings(contents, options, unseen))
    return Audit(reader.name, composition.class_counts(contents), worst_first(found), tuple(unseen))


def _findings(contents: files.Contents, options: Options, unseen: list[str]) -> Iterator[Finding]:
    """Yield every finding, and note what cannot be looked at."""
    near = duplicates.near_copies(contents.small, [file.digest for file in contents.files])
    yield from files.findings(contents)
    yield from duplicates.findings(contents, near)
    names = grouping.names_of_groups(contents, options.group)
    if names is None:
        unseen.append("Groups by name: no numbering tells who or what belongs together; --group says how names do.")
    else:
        yield from grouping.shared_groups(contents, names)
    if contents.features is None:
        unseen.append("Neighbours in the features of a backbone, and doubtful labels: they need --weights.")
    else:
        yield from _by_features(contents, near, unseen)
    yield from composition.findings(contents)


def _by_features(contents: files.Contents, near: duplicates.Pairs, unseen: list[str]) -> Iterator[Finding]:
    if grouping.enough_for_neighbours(contents):
        yield from grouping.close_pairs(contents, near)
    else:
        unseen.append(f"Neighbours in the features of a backbone: {count(len(contents.files), 'image')} are too few.")
    sizes = Counter(contents.classes.tolist()).values()
    if len(sizes) < 2 or min(sizes) < 2:
        unseen.append("Doubtful labels: this needs at least two classes with at least two images that can be read.")
    else:
        yield from labels.findings(contents)


def _extractor(weights: str) -> Extractor:
    from paribus.transfer import Extractor, build_backbone, named_weights

    return Extractor(build_backbone(named_weights(weights), seed=0))


def _place(sample: Sample) -> tuple[int, str, tuple[str, ...]]:
    return SPLITS.index(sample.split or "train"), sample.class_name, sample.file
