"""What a data set is, and how part of its training images is held out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.types import Interval

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images and labels of one classification task, as they come from the source.

    ``train_images``, ``test_images``: uint8 ``(N, C, H, W)``, values within ``interval``.
    ``train_labels``, ``test_labels``: int64 ``(N,)``, values ``0 .. len(classes) - 1``.
    Raises InputError when shapes or ranges disagree.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    interval: Interval

    def __post_init__(self) -> None:
        parts = {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
        }
        for part, (images, labels) in parts.items():
            where = f"data set {self.name!r}, {part} part"
            if len(images) != len(labels) or not len(images):
                raise InputError(
                    f"{where}: one label per image is needed, not {len(labels)} for {len(images)}"
                )
            if labels.min() < 0 or labels.max() >= len(self.classes):
                wrong = labels.max() if labels.max() >= len(self.classes) else labels.min()
                raise InputError(f"{where}: labels must be within 0..{len(self.classes) - 1}, not {wrong}")
            if int(images.max()) > self.interval.hi:
                raise InputError(f"{where}: pixels must be within {self.interval}, not {images.max()}")
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise InputError(
                f"data set {self.name!r}: train and test images must have one shape, not "
                f"{list(self.train_images.shape[1:])} and {list(self.test_images.shape[1:])}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, H, W)`` of one image."""
        return self.train_images.shape[1:]


def stratified_indices(
    labels: Labels, share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the kept and the held-out samples, both ascending; every class gives ``share`` of itself.

    Drawn from NumPy's legacy generator, whose stream is frozen, so a seed means the same split in
    every NumPy version. A class with at least two samples is never left empty on either side.
    """
    random = np.random.RandomState(seed)
    held: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(max(1, round(share * len(members))), len(members) - 1)])
    mask = np.zeros(len(labels), bool)
    mask[np.concatenate(held)] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def validation_split(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set with ``share`` of its training images, by class, in place of the test part.

    ``share`` is within 0 < share < 1. The real test images are not part of the result, so nothing
    chosen on it can have seen them. Raises InputError.
    """
    if not 0 < share < 1:
        raise InputError(f"the validation share must be between 0 and 1, not {share}")
    kept, held = stratified_indices(dataset.train_labels, share, seed)
    return replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        test_images=dataset.train_images[held],
        test_labels=dataset.train_labels[held],
    )
