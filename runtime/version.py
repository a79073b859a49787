"""The version of Gatefold that is installed."""

from importlib.metadata import version

VERSION: str = version("gatefold")
