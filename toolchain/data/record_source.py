"""The data sets of headerless binary records, published as one archive each: CIFAR-10 and STL-10."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.types import Interval
from toolchain.data.archive import Archive, fetch_members
from toolchain.data.dataset import Dataset, Images, Labels
from toolchain.data.download import Progress, RemoteFile
from toolchain.data.location import FileSet
from toolchain.data.records import read_cifar, read_stl


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that together hold images and their labels, and the most images they may hold."""

    files: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class RecordSource:
    """A data set of record files: the archive they come from, and how they are read.

    ``train``, ``test``: the batches of each part, in order. ``read``: called with the paths of a batch and
    ``limit=``; returns its images (a view will do) and labels.
    """

    name: str
    summary: str
    archive: Archive
    classes: tuple[str, ...]
    train: tuple[Batch, ...]
    test: tuple[Batch, ...]
    read: Callable[..., tuple[Images, Labels]]

    def load(self, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
        """Read all batches, fetching the archive when no directory was given and the cache is not complete.

        Takes about twice the memory of the images while it runs. Raises InputError.
        """
        batches = (*self.train, *self.test)
        names = tuple(name for batch in batches for name in batch.files)
        folders = (self.archive.folder, self.name)
        paths = FileSet(self.name, names, folders, self._fetch).locate(data_dir, progress)
        located = dict(zip(names, paths, strict=True))

        def read_batch(batch: Batch) -> tuple[Images, Labels]:
            return self.read(*(located[name] for name in batch.files), limit=batch.limit)

        # Decompression, which is nearly all of the time, runs outside the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            parts = list(threads.map(read_batch, batches))
        test_images, test_labels = _joined(parts[len(self.train) :])
        del parts[len(self.train) :]
        train_images, train_labels = _joined(parts)
        return Dataset(
            self.name, train_images, train_labels, test_images, test_labels, self.classes, Interval(0, 255)
        )

    def _fetch(self, name: str, directory: Path, progress: Progress | None) -> None:
        """All the files, of which ``name`` is one: they come together."""
        fetch_members(self.archive, directory, progress)


def _joined(parts: Sequence[tuple[Images, Labels]]) -> tuple[Images, Labels]:
    """The images in one contiguous array, and the labels in another."""
    views, labels = zip(*parts, strict=True)
    images = np.empty((sum(map(len, views)), *views[0].shape[1:]), np.uint8)
    return np.concatenate(views, out=images), np.concatenate(labels)


CIFAR_TRAIN = tuple(f"data_batch_{index}.bin" for index in range(1, 6))

CIFAR_10 = RecordSource(
    "cifar-10",
    "32x32 colour images of ten classes: 50,000 train, 10,000 test",
    Archive(
        "https://www.cs.toronto.edu/~kriz/",
        RemoteFile(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        "cifar-10-batches-bin",
        dict.fromkeys((*CIFAR_TRAIN, "test_batch.bin"), 30_730_000),
    ),
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    tuple(Batch((name,), 10_000) for name in CIFAR_TRAIN),
    (Batch(("test_batch.bin",), 10_000),),
    read_cifar,
)

STL_10 = RecordSource(
    "stl-10",
    "96x96 colour images of ten classes: 5,000 train, 8,000 test",
    Archive(
        "http://ai.stanford.edu/~acoates/stl10/",
        RemoteFile(
            "stl10_binary.tar.gz",
            2_640_397_119,
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        ),
        "stl10_binary",
        {
            "train_X.bin": 138_240_000,
            "train_y.bin": 5_000,
            "test_X.bin": 221_184_000,
            "test_y.bin": 8_000,
        },
    ),
    ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    (Batch(("train_X.bin", "train_y.bin"), 5_000),),
    (Batch(("test_X.bin", "test_y.bin"), 8_000),),
    read_stl,
)
