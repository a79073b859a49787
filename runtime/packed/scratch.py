"""Working memory that is kept between runs."""

from __future__ import annotations

import math
import threading

import numpy as np

from runtime.packed.planes import Words


class Scratch(threading.local):
    """Blocks of words by name, each as large as it was ever asked for; every thread has its own.

    A block that is allocated anew for every layer costs more in page faults than the layer takes to run.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, Words] = {}

    def block(self, name: str, *shape: int) -> Words:
        """The block of that name, with any content. It is valid until asked for again."""
        size = math.prod(shape)
        block = self._blocks.get(name)
        if block is None or block.size < size:
            block = self._blocks[name] = np.empty(size, np.uint64)
        return block[:size].reshape(shape)
