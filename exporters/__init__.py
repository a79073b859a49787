"""Exporters: one target language each, found through ``EXPORTERS``. Importing this needs NumPy alone."""

from exporters.base import EXPORTERS, ExporterRow, Option, executors, export, open_session

__all__ = ["EXPORTERS", "ExporterRow", "Option", "executors", "export", "open_session"]
