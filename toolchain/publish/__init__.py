"""Publishing: a finished run as a folder of its program, test vectors and a card."""

from toolchain.publish.publishing import Published, publish

__all__ = ["Published", "publish"]
