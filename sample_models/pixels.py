"""What the networks know about the pixels of a data set: mean and deviation of the training images."""

from __future__ import annotations

from toolchain.layers import PixelNorm

STATISTICS = {
    "fashion-mnist": ((72.94,), (90.02,)),
    "mnist": ((33.32,), (78.57,)),
    "cifar-10": ((125.31, 122.95, 113.87), (62.99, 62.09, 66.70)),
    "stl-10": ((113.91, 112.15, 103.69), (66.41, 65.32, 68.95)),
}
"""Per channel, in units of pixels 0..255; usual published values, rounded."""


def pixel_norm(dataset: str) -> PixelNorm:
    """The input encoder for images of ``dataset``."""
    return PixelNorm(*STATISTICS[dataset])
