"""Imports pyarrow when it is needed, or says how to get it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

_CURE: Final = "Parquet files need pyarrow; install it with: pip install 'autocoder[parquet]'"


def require_pyarrow() -> None:
    """Refuse a configuration that needs pyarrow where it is not installed; raises ValueError, naming the extra."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(_CURE)


def pyarrow(module: str = "pyarrow") -> Any:
    """A module of pyarrow. Raises ModuleNotFoundError, naming the extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_CURE, name=error.name) from error
