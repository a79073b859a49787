"""Data sets as their hosts publish them: files in official layouts, and a server for them."""

import functools
import http.server
import threading
from contextlib import contextmanager

import numpy as np

from toolchain.data import load


def idx_bytes(array):
    """An IDX file of a uint8 array."""
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def cifar_bytes(images, labels):
    """A batch file of CIFAR-10: per record the label, then the pixels in C order."""
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def stl_bytes(images):
    """An image file of STL-10: every channel is stored column by column."""
    return b"".join(channel.tobytes(order="F") for image in images for channel in image)


@contextmanager
def serve(directory):
    """A real HTTP server on this machine that publishes ``directory``; gives its URL."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    site = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(quiet, directory=str(directory))
    )
    thread = threading.Thread(target=site.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}/"
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


def mnist_of_digits(directory, counts=(1000, 200)):
    """The 8x8 digits, enlarged to 28x28, in the official layout of MNIST: learnable in seconds."""
    digits = load("digits")
    directory.mkdir(parents=True)
    parts = (
        ("train", digits.train_images, digits.train_labels),
        ("t10k", digits.test_images, digits.test_labels),
    )
    for (part, images, labels), count in zip(parts, counts, strict=True):
        large = np.pad(images[:count, 0].repeat(3, 1).repeat(3, 2) * 15, ((0, 0), (2, 2), (2, 2)))
        (directory / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(large.astype(np.uint8)))
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:count].astype(np.uint8)))
    return directory
