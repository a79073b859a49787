"""Bitwise ops and pooling give the same on words, on bytes and on a mixture."""

import numpy as np
import pytest

from runtime.ops import And, MaxPool, Not, Or, Select, Xor
from runtime.packed.executor import COMPILERS
from runtime.packed.planes import pack_codes
from runtime.packed.value import Value
from runtime.types import Interval, TensorType

CASES = {
    "or": (Or(), (3, 1)),
    "and": (And(), (5, 255)),
    "xor": (Xor(), (7, 7)),
    "not": (Not(4), (6,)),
    "not-one": (Not(1), (1,)),
    "select": (Select(), (1, 9, 2)),
    "max": (MaxPool((3, 2), (2, 1), (1, 1)), (200,)),
    "max-one": (MaxPool((2, 2), (2, 2)), (1,)),
}


@pytest.mark.parametrize("packed", ["none", "first", "all"])
@pytest.mark.parametrize("channels", [3, 64, 70])
@pytest.mark.parametrize("case", CASES)
def test_words_and_bytes(case, channels, packed):
    op, tops = CASES[case]
    rng = np.random.default_rng(channels)
    types = [TensorType((channels, 6, 5), Interval(0, top)) for top in tops]
    arrays = [rng.integers(0, top + 1, (4, channels, 6, 5)) for top in tops]
    values = [Value(t, 4, a.astype(np.uint8)) for t, a in zip(types, arrays, strict=True)]
    for value in values[: {"none": 0, "first": 1, "all": len(values)}[packed]]:
        value.words, value.array = pack_codes(value.array.swapaxes(0, 1), value.type.bits), None
    result = op.infer(*types)
    found = COMPILERS[type(op)](op, types, result)(values)
    assert np.array_equal(found.as_array(), op.evaluate(*arrays))
    assert np.array_equal(found.as_words(), pack_codes(op.evaluate(*arrays).swapaxes(0, 1), result.bits))
