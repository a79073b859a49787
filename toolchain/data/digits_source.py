"""The data set that needs no files: scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from runtime.errors import MissingToolError
from runtime.types import Interval
from toolchain.data.dataset import Dataset, Images, Labels, stratified_indices
from toolchain.data.download import Progress

CLASSES = tuple("0123456789")

TEST_SHARE = 0.2
SPLIT_SEED = 0
"""The split of ``digits`` is part of its definition here: scikit-learn ships one set of 1,797 images."""


@dataclass(frozen=True, slots=True)
class DigitsSource:
    """Scikit-learn's bundled 8x8 digits (the test part of UCI's optical digits; 17 grey levels).

    A fifth of each class, drawn with a fixed seed, is the test part: 1,438 + 359 images.
    """

    name: str = "digits"
    summary: str = "8x8 handwritten digits bundled with scikit-learn: 1,438 train, 359 test"

    def load(self, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
        """The bundled images; ``data_dir`` and ``progress`` are not used."""
        table = np.loadtxt(_file(), np.int64, delimiter=",")
        images: Images = table[:, :-1].astype(np.uint8).reshape(-1, 8, 8)[:, None]
        labels: Labels = table[:, -1].copy()
        kept, held = stratified_indices(labels, TEST_SHARE, SPLIT_SEED)
        return Dataset(
            self.name, images[kept], labels[kept], images[held], labels[held], CLASSES, Interval(0, 16)
        )


def _file() -> Path:
    """Scikit-learn's table of pixels and labels. Importing scikit-learn to read it would take seconds."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingToolError("data set 'digits' needs scikit-learn: pip install 'gatefold[train]'")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
