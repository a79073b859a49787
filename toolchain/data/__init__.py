"""Data sets as plain uint8 arrays in memory: the built-in table, loading and splitting."""

from toolchain.data.dataset import Dataset, validation_split
from toolchain.data.sources import DATASETS, load

__all__ = ["DATASETS", "Dataset", "load", "validation_split"]
