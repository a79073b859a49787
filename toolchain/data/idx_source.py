"""The data sets that are published as four IDX files: MNIST and its successors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.types import Interval
from toolchain.data.dataset import Dataset, Images, Labels
from toolchain.data.download import Progress, RemoteFile, download
from toolchain.data.idx import read_idx
from toolchain.data.location import FileSet


@dataclass(frozen=True, slots=True)
class IdxSource:
    """A data set of four IDX files: where they are published, and what they must hold.

    ``files``: train images, train labels, test images, test labels; ``counts``: most train and test items;
    ``strangers``: folder names of the other data sets whose files have the same four names.
    """

    name: str
    summary: str
    base_url: str
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    classes: tuple[str, ...]
    strangers: tuple[str, ...]
    image_shape: tuple[int, int] = (28, 28)
    counts: tuple[int, int] = (60_000, 10_000)

    def load(self, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
        """Read the four files, downloading what the cache lacks when no directory was given."""
        names = tuple(_stem(remote) for remote in self.files)
        paths = FileSet(self.name, names, (self.name,), self._fetch, self.strangers).locate(
            data_dir, progress
        )
        train_images, test_images = map(self._read_images, paths[::2], self.counts)
        train_labels, test_labels = map(_read_labels, paths[1::2], self.counts)
        return Dataset(
            self.name, train_images, train_labels, test_images, test_labels, self.classes, Interval(0, 255)
        )

    def _read_images(self, path: Path, limit: int) -> Images:
        return read_idx(path, self.image_shape, limit)[:, None]

    def _fetch(self, name: str, directory: Path, progress: Progress | None) -> None:
        remote = next(remote for remote in self.files if _stem(remote) == name)
        download(self.base_url, remote, directory, progress)


def _read_labels(path: Path, limit: int) -> Labels:
    return read_idx(path, (), limit).astype(np.int64)


def _stem(remote: RemoteFile) -> str:
    return remote.name.removesuffix(".gz")


FASHION_MNIST = IdxSource(
    "fashion-mnist",
    "28x28 grey images of clothing: 60,000 train, 10,000 test",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    strangers=("mnist",),
)

MNIST = IdxSource(
    "mnist",
    "28x28 grey handwritten digits: 60,000 train, 10,000 test",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    tuple("0123456789"),
    strangers=("fashion-mnist",),
)
