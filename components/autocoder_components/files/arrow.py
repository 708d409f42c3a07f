"""Imports pyarrow when it is needed, or says how to get it."""

from __future__ import annotations

import importlib
from typing import Any


def pyarrow(module: str = "pyarrow") -> Any:
    """A module of pyarrow. Raises ModuleNotFoundError, naming the extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet files need pyarrow; install it with: pip install 'autocoder[parquet]'", name=error.name
        ) from error
