"""scikit-learn's 1,797 handwritten digits of 8x8 pixels: real data that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paribus.data.dataset import Dataset, Split
from paribus.data.reader import Reader, bytes_digest
from paribus.data.split import draw_stratified
from paribus.errors import DataError

TEST_COUNT = 360
_LARGEST_VALUE = 16
# Of the scaled images and labels. Knowing it saves importing scikit-learn when they are already prepared.
_DIGEST = "a79e829c01a4795ad6bf65dcd9af3f7f"


@dataclass(frozen=True)
class Digits(Reader):
    """The digits inside scikit-learn, 0 to 16 scaled to 0 to 255; 360 of them, stratified and always the same, test.

    Source: Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", the UCI test set.
    """

    name: str = "digits"
    path: Path = Path("sklearn.datasets")
    classes: tuple[str, ...] | None = tuple("0123456789")

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the digest that is known."""
        yield "digits", _DIGEST

    def read(self) -> Dataset:
        """Take the digits out of scikit-learn."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / _LARGEST_VALUE)).astype(np.uint8)
        labels = bunch.target.astype(np.int64)
        if bytes_digest(images.tobytes() + labels.tobytes()) != _DIGEST:
            raise DataError(
                "The digits of scikit-learn must be the 1,797 that this version of paribus knows, but the installed "
                "scikit-learn holds others. Install the version named in constraints.txt."
            )
        # Not a run's split: every seed is tested on the same images.
        test = draw_stratified(labels, TEST_COUNT, seed=0, purpose="split", stream="digits-test")
        train = np.setdiff1d(np.arange(len(labels)), test)
        splits = {
            name: Split(images[chosen, None], labels[chosen]) for name, chosen in (("train", train), ("test", test))
        }
        return self._dataset(splits, self.classes)
