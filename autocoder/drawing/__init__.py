"""Draws a compiled pipeline: Mermaid, DOT, JSON, or SVG without any other program. Reads the graph and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from autocoder.drawing.dot import draw_dot
from autocoder.drawing.mermaid import draw_mermaid
from autocoder.drawing.picture import Picture, draw_json, picture_of
from autocoder.drawing.svg import draw_svg
from autocoder.graph import Graph

_FORMATS: Final[Mapping[str, Callable[[Picture], str]]] = {
    "mermaid": draw_mermaid,
    "dot": draw_dot,
    "json": draw_json,
    "svg": draw_svg,
}
FORMATS: Final = tuple(_FORMATS)


def draw(graph: Graph, form: str) -> str:
    """The drawing of a graph as text, in one of FORMATS, with a line break at its end."""
    return _FORMATS[form](picture_of(graph)).rstrip("\n") + "\n"
