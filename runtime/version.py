"""The version of Gatefold that is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION: str = version("gatefold")
except PackageNotFoundError:
    VERSION = "source checkout"
