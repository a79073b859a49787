"""Where the files of a data set are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError
from toolchain.data.download import Progress, cache_dir
from toolchain.data.files import find_file

Fetch = Callable[[str, Path, Progress | None], None]
"""Called with an official file name and a directory; brings at least that file there."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files of one data set, by their official names (without the suffix of a compression).

    ``folders``: names of the data set's own folder. ``strangers``: folder names of other data sets whose
    files have the same names. ``fetch`` fills the user's cache.
    """

    dataset: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    fetch: Fetch
    strangers: tuple[str, ...] = ()

    def locate(self, data_dir: str | Path | None, progress: Progress | None) -> tuple[Path, ...]:
        """The paths of ``files``, in their order.

        From ``data_dir``, else from the directory in ``GATEFOLD_DATA`` (both the own folder or its parent),
        else from the user's cache, fetching what it lacks. Raises InputError saying where it looked.
        """
        given = data_dir or os.environ.get("GATEFOLD_DATA")
        found = self._search(Path(given).expanduser()) if given else self._fill_cache(progress)
        return tuple(found[name] for name in self.files)

    def _search(self, root: Path) -> dict[str, Path]:
        own = () if root.absolute().name in self.strangers else (root,)
        candidates = (*(root / folder for folder in self.folders), *own)
        found = max((self._found(directory) for directory in candidates), key=len)
        for name in self.files:
            if name not in found:
                places = " or ".join(map(str, candidates))
                raise self._missing(f"no {name} (plain, .gz or .xz) in {places}")
        return found

    def _fill_cache(self, progress: Progress | None) -> dict[str, Path]:
        directory = cache_dir() / self.dataset
        for name in self.files:
            if find_file(directory, name) is None:
                try:
                    self.fetch(name, directory, progress)
                except InputError as error:
                    raise self._missing(f"no {name} in {directory}, and {error}") from None
        return self._found(directory)

    def _found(self, directory: Path) -> dict[str, Path]:
        located = ((name, find_file(directory, name)) for name in self.files)
        return {name: path for name, path in located if path is not None}

    def _missing(self, what: str) -> InputError:
        return InputError(
            f"data set {self.dataset!r} is missing: {what}; "
            "give its folder with --data-dir or GATEFOLD_DATA"
        )
