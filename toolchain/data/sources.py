"""The table of data sets, and where their files are looked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import InputError, MissingToolError
from runtime.types import Interval
from toolchain.data.dataset import Dataset, Images, Labels, stratified_indices
from toolchain.data.download import Progress, RemoteFile, cache_dir, download
from toolchain.data.idx import find_idx, read_idx

DIGIT_NAMES = tuple("0123456789")

DIGITS_TEST_SHARE = 0.2
DIGITS_SPLIT_SEED = 0
"""The split of ``digits`` is part of its definition here: scikit-learn ships one set of 1,797 images."""


@dataclass(frozen=True, slots=True)
class IdxSource:
    """A data set of four IDX files: where they are published, and what they must hold.

    ``files``: train images, train labels, test images, test labels; ``counts``: most train and test items.
    """

    name: str
    summary: str
    base_url: str
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    classes: tuple[str, ...]
    image_shape: tuple[int, int] = (28, 28)
    counts: tuple[int, int] = (60_000, 10_000)

    def load(self, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
        """Read the four files, downloading what the cache lacks when no directory was given."""
        directory = self._directory(data_dir, progress)
        arrays = []
        for index, remote in enumerate(self.files):
            path = find_idx(directory, _stem(remote))
            assert path is not None, "_directory returns only complete directories"
            item_shape = self.image_shape if index % 2 == 0 else ()
            arrays.append(read_idx(path, item_shape, self.counts[index // 2]))
        train_images, train_labels, test_images, test_labels = arrays
        return Dataset(
            self.name,
            train_images[:, None],
            train_labels.astype(np.int64),
            test_images[:, None],
            test_labels.astype(np.int64),
            self.classes,
            Interval(0, 255),
        )

    def _directory(self, data_dir: str | Path | None, progress: Progress | None) -> Path:
        """A directory that holds all four files. Raises InputError saying where it looked."""
        given = data_dir or os.environ.get("GATEFOLD_DATA")
        if given is None:
            return self._fill_cache(progress)
        root = Path(given).expanduser()
        # The four file names are the same in every IDX data set: a folder named for one is never another's.
        own = () if root.name in DATASETS and root.name != self.name else (root,)
        candidates = (root / self.name, *own)
        missing = [self._missing(directory) for directory in candidates]
        for directory, names in zip(candidates, missing, strict=True):
            if not names:
                return directory
        fewest = min(missing, key=len)
        raise InputError(
            f"data set {self.name!r} is missing: no {_stem(fewest[0])} (plain, .gz or .xz) in "
            f"{' or '.join(map(str, candidates))}; give its folder with --data-dir or GATEFOLD_DATA"
        )

    def _fill_cache(self, progress: Progress | None) -> Path:
        directory = cache_dir() / self.name
        for remote in self._missing(directory):
            try:
                download(self.base_url, remote, directory, progress)
            except InputError as error:
                raise InputError(
                    f"data set {self.name!r} is missing: no {_stem(remote)} in {directory}, and {error}; "
                    "give its folder with --data-dir or GATEFOLD_DATA"
                ) from None
        return directory

    def _missing(self, directory: Path) -> list[RemoteFile]:
        return [remote for remote in self.files if find_idx(directory, _stem(remote)) is None]


def _stem(remote: RemoteFile) -> str:
    return remote.name.removesuffix(".gz")


@dataclass(frozen=True, slots=True)
class DigitsSource:
    """Scikit-learn's bundled 8x8 digits (the test part of UCI's optical digits; 17 grey levels).

    A fifth of each class, drawn with a fixed seed, is the test part: 1,438 + 359 images.
    """

    name: str = "digits"
    summary: str = "8x8 handwritten digits bundled with scikit-learn: 1,438 train, 359 test"

    def load(self, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
        """The bundled images; ``data_dir`` and ``progress`` are not used."""
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise MissingToolError(
                "data set 'digits' needs scikit-learn: pip install 'gatefold[train]'"
            ) from None
        bunch = load_digits()
        images: Images = bunch.images.astype(np.uint8)[:, None]
        labels: Labels = bunch.target.astype(np.int64)
        kept, held = stratified_indices(labels, DIGITS_TEST_SHARE, DIGITS_SPLIT_SEED)
        return Dataset(
            self.name, images[kept], labels[kept], images[held], labels[held], DIGIT_NAMES, Interval(0, 16)
        )


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
    DIGIT_NAMES,
)

DATASETS: dict[str, DigitsSource | IdxSource] = {
    source.name: source for source in (DigitsSource(), FASHION_MNIST, MNIST)
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
