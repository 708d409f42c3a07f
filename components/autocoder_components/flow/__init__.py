"""Components that direct payloads: filter, map, route, merge, join, count, slow down, generate.

Conditions and values are expressions in CEL, the Common Expression Language (extra `cel`); see `Expression`.
"""

from autocoder import Expression, ExpressionError
from autocoder_components.flow.gathering import Batch, Count, Counted
from autocoder_components.flow.inbox import Inbox
from autocoder_components.flow.joining import Join
from autocoder_components.flow.mapping import Map
from autocoder_components.flow.merging import Concat, Zip
from autocoder_components.flow.pacing import Discard, Generate, Throttle
from autocoder_components.flow.routing import Route
from autocoder_components.flow.selecting import Deduplicate, Filter, Sample

__all__ = [
    "Batch",
    "Concat",
    "Count",
    "Counted",
    "Deduplicate",
    "Discard",
    "Expression",
    "ExpressionError",
    "Filter",
    "Generate",
    "Inbox",
    "Join",
    "Map",
    "Route",
    "Sample",
    "Throttle",
    "Zip",
]
