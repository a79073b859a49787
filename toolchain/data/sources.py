"""The table of data sets."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError
from toolchain.data.dataset import Dataset
from toolchain.data.digits_source import DigitsSource
from toolchain.data.download import Progress
from toolchain.data.idx_source import FASHION_MNIST, MNIST, IdxSource
from toolchain.data.record_source import CIFAR_10, STL_10, RecordSource

DATASETS: dict[str, DigitsSource | IdxSource | RecordSource] = {
    source.name: source for source in (DigitsSource(), FASHION_MNIST, MNIST, CIFAR_10, STL_10)
}


def load(name: str, data_dir: str | Path | None = None, progress: Progress | None = None) -> Dataset:
    """The data set of that name.

    Its files are read from ``data_dir``, else from the directory in ``GATEFOLD_DATA`` (in both cases
    the data set's own folder or its parent), else from the user's cache, which a checksummed download
    fills. ``progress(file, done, total)`` follows the download in bytes. Raises InputError in one line.
    """
    if name not in DATASETS:
        raise InputError(f"data set must be one of {', '.join(DATASETS)}, not {name!r}")
    return DATASETS[name].load(data_dir, progress)
