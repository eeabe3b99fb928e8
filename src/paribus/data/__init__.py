"""Data sets: finding, decoding once, splitting by seed."""

from paribus.data.dataset import Dataset, Split
from paribus.data.prepare import Prepared, load_data, load_prepared, prepare
from paribus.data.sources import SOURCES, Source, search_folders
from paribus.data.split import Drawn, draw

__all__ = [
    "SOURCES",
    "Dataset",
    "Drawn",
    "Prepared",
    "Source",
    "Split",
    "draw",
    "load_data",
    "load_prepared",
    "prepare",
    "search_folders",
]
