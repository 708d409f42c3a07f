"""autocoder: pipelines declared in YAML out of typed components, in one process on one embedded file.

The names below are the public interface; everything else may change. They are imported when first used, so that the
command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocoder.component import Component as Component
    from autocoder.component import Merger as Merger
    from autocoder.component import Sink as Sink
    from autocoder.component import Source as Source
    from autocoder.component import Splitter as Splitter
    from autocoder.component import Transformer as Transformer
    from autocoder.message import Batch as Batch
    from autocoder.message import Emission as Emission
    from autocoder.message import Rejected as Rejected
    from autocoder.port import In as In
    from autocoder.port import Out as Out
    from autocoder.state import Keyed as Keyed
    from autocoder.state import Value as Value
    from autocoder.statement import Statement as Statement

_HOME = {
    "Component": "component", "Merger": "component", "Sink": "component", "Source": "component",
    "Splitter": "component", "Transformer": "component",
    "Batch": "message", "Emission": "message", "Rejected": "message",
    "In": "port", "Out": "port", "Keyed": "state", "Value": "state", "Statement": "statement",
}
__all__ = sorted(_HOME)  # noqa: PLE0605  one list, not two
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'autocoder' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"autocoder.{home}"), name)
    globals()[name] = value
    return value
