"""Speed of executors, measured in turns with the float32 and int8 networks of the same shape."""

from toolchain.bench.measure import Bench, Row, bench
from toolchain.bench.settings import Settings

__all__ = ["Bench", "Row", "Settings", "bench"]
