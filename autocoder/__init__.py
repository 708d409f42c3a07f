"""autocoder: pipelines declared in YAML out of typed components, in one process on one embedded file.

The names below are the public interface; everything else may change. They are imported when first used, so that the
command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocoder.cli.loading import Session as Session
    from autocoder.cli.loading import open_session as open_session
    from autocoder.cli.options import common_options as common_options
    from autocoder.cli.options import json_option as json_option
    from autocoder.cli.options import pipeline_options as pipeline_options
    from autocoder.cli.reporting import give as give
    from autocoder.cli.reporting import give_json as give_json
    from autocoder.cli.reporting import say as say
    from autocoder.cli.reporting import table as table
    from autocoder.cli.run import run_watched as run_watched
    from autocoder.codec import parse_json as parse_json
    from autocoder.component import Component as Component
    from autocoder.component import Merger as Merger
    from autocoder.component import Sink as Sink
    from autocoder.component import Source as Source
    from autocoder.component import Splitter as Splitter
    from autocoder.component import Transformer as Transformer
    from autocoder.database import Database as Database
    from autocoder.database import open_database as open_database
    from autocoder.database import pipeline_database as pipeline_database
    from autocoder.database_options import DatabaseOptions as DatabaseOptions
    from autocoder.declaration import ChannelOptions as ChannelOptions
    from autocoder.declaration import CommitPolicy as CommitPolicy
    from autocoder.declaration import ErrorPolicy as ErrorPolicy
    from autocoder.declaration import RetryPolicy as RetryPolicy
    from autocoder.durations import Duration as Duration
    from autocoder.errors import AutocoderError as AutocoderError
    from autocoder.errors import ComponentDefinitionError as ComponentDefinitionError
    from autocoder.errors import ConfigurationError as ConfigurationError
    from autocoder.errors import ForcedStop as ForcedStop
    from autocoder.errors import PipelineError as PipelineError
    from autocoder.errors import Place as Place
    from autocoder.errors import Problem as Problem
    from autocoder.errors import UnreachableError as UnreachableError
    from autocoder.errors import UsageError as UsageError
    from autocoder.errors import storable as storable
    from autocoder.expression import Condition as Condition
    from autocoder.expression import Expression as Expression
    from autocoder.expression import ExpressionError as ExpressionError
    from autocoder.expression import field_names as field_names
    from autocoder.message import Batch as Batch
    from autocoder.message import Emission as Emission
    from autocoder.message import Rejected as Rejected
    from autocoder.pipeline import Outlet as Outlet
    from autocoder.pipeline import Pipeline as Pipeline
    from autocoder.port import In as In
    from autocoder.port import Out as Out
    from autocoder.runtime.failures import DeadLetter as DeadLetter
    from autocoder.sending import send as send
    from autocoder.settings import Settings as Settings
    from autocoder.settings import load_settings as load_settings
    from autocoder.state import Keyed as Keyed
    from autocoder.state import Value as Value
    from autocoder.statement import Statement as Statement
    from autocoder.store.columns import Instant as Instant
    from autocoder.store.columns import JsonText as JsonText
    from autocoder.store.failpoints import reached as reached
    from autocoder.store.patience import patiently as patiently
    from autocoder.store.schema import prepare as prepare
    from autocoder.summary import ComponentSummary as ComponentSummary
    from autocoder.summary import RunSummary as RunSummary

_NAMES = {
    "durations": ("Duration",),
    "cli.loading": ("Session", "open_session"),
    "cli.options": ("common_options", "json_option", "pipeline_options"),
    "cli.reporting": ("give", "give_json", "say", "table"),
    "cli.run": ("run_watched",),
    "codec": ("parse_json",),
    "component": ("Component", "Merger", "Sink", "Source", "Splitter", "Transformer"),
    "database": ("Database", "open_database", "pipeline_database"),
    "database_options": ("DatabaseOptions",),
    "declaration": ("ChannelOptions", "CommitPolicy", "ErrorPolicy", "RetryPolicy"),
    "errors": (
        "AutocoderError",
        "ComponentDefinitionError",
        "ConfigurationError",
        "ForcedStop",
        "PipelineError",
        "Place",
        "Problem",
        "UnreachableError",
        "UsageError",
        "storable",
    ),
    "expression": ("Condition", "Expression", "ExpressionError", "field_names"),
    "message": ("Batch", "Emission", "Rejected"),
    "pipeline": ("Outlet", "Pipeline"),
    "port": ("In", "Out"),
    "runtime.failures": ("DeadLetter",),
    "sending": ("send",),
    "settings": ("Settings", "load_settings"),
    "state": ("Keyed", "Value"),
    "statement": ("Statement",),
    "store.columns": ("Instant", "JsonText"),
    "store.failpoints": ("reached",),
    "store.patience": ("patiently",),
    "store.schema": ("prepare",),
    "summary": ("ComponentSummary", "RunSummary"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605  one list, not two
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'autocoder' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"autocoder.{home}"), name)
    globals()[name] = value
    return value
