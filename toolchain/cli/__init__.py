"""The ``gatefold`` command: one module a verb, loaded when it is called."""

from toolchain.cli.main import main

__all__ = ["main"]
