"""A package of someone else's that brings a network and a recipe to gatefold, as an installation would."""

from __future__ import annotations

from pathlib import Path

NETWORK = """
from torch import nn

from runtime.types import Interval
from toolchain.layers import Activation, BatchNorm, HEQClassifier, HEQLinear
from toolchain.models import ModelRow


def build(*, width, levels):
    return nn.Sequential(
        nn.Flatten(),
        HEQLinear(64, width, levels),
        BatchNorm(width),
        Activation(bits=2),
        HEQClassifier(width, 10, levels, input_max=3),
    )


OPTIONS = {"width": 32, "levels": 4}

MODELS = {
    "tiny-net": ModelRow(
        "tiny-net", "two dense layers", build, (1, 8, 8), Interval(0, 16), "digits", OPTIONS
    )
}
"""

RECIPE = """
name = "tiny-digits"
summary = "a network of another package, two epochs"
model = "tiny-net"
dataset = "digits"
threads = 1

[[phases]]
name = "pretrain"
epochs = 1
precision = "float"
learning_rate = 0.01
batch_size = 32

[[phases]]
name = "qat"
epochs = 1
precision = "quantized"
learning_rate = 0.002
batch_size = 32
"""

ENTRY_POINTS = """
[gatefold.models]
tiny = tiny_package.networks:MODELS

[gatefold.recipes]
tiny = tiny_package.recipes
"""


def install(folder: Path) -> Path:
    """Write the package and its entry points into ``folder``, which then belongs on Python's path."""
    files = {
        "tiny_package/__init__.py": "",
        "tiny_package/networks.py": NETWORK,
        "tiny_package/recipes/tiny-digits.toml": RECIPE,
        "tiny_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n",
        "tiny_package-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
