"""The Devanagari Handwritten Character Dataset (Acharya, Pant, Gyawali 2015): 36 consonants and 10 digits, 32x32."""

from __future__ import annotations

from pathlib import Path

from paribus.data.folders import ImageFolders
from paribus.data.npz import NpzFile
from paribus.data.reader import Reader

ZIP_NAME = "DevanagariHandwrittenCharacterDataset.zip"
NPZ_NAME = "dataset.npz"


def find_dhcd(folder: Path) -> Reader | None:
    """Return the reader of UCI's zip, or else of the authors' npz, in a folder; None if it holds neither.

    The zip names its classes, and sorts them as text; here they come in the published order. The npz numbers them
    without names.
    """
    if (folder / ZIP_NAME).is_file():
        return ImageFolders("dhcd", folder / ZIP_NAME, CLASSES)
    if (folder / NPZ_NAME).is_file():
        return NpzFile("dhcd", folder / NPZ_NAME, tuple(str(label) for label in range(len(CLASSES))))
    return None


# fmt: off
_CONSONANTS = (
    "ka", "kha", "ga", "gha", "kna", "cha", "chha", "ja", "jha", "yna", "taamatar", "thaa",
    "daa", "dhaa", "adna", "tabala", "tha", "da", "dha", "na", "pa", "pha", "ba", "bha",
    "ma", "yaw", "ra", "la", "waw", "motosaw", "petchiryakha", "patalosaw", "ha", "chhya", "tra", "gya",
)
# fmt: on
CLASSES = (
    *(f"character_{number}_{name}" for number, name in enumerate(_CONSONANTS, start=1)),
    *(f"digit_{digit}" for digit in range(10)),
)
"""The names of the class folders in the published order."""
