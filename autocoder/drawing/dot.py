"""A pipeline in DOT, for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from autocoder.drawing.picture import Arrow, Figure, Picture

_STYLES: Final = {
    "source": 'shape=box style="rounded,filled" fillcolor="#dff3e4" color="#2f7d4a"',
    "transformer": 'shape=box style=filled fillcolor="#e3ecfb" color="#3563b5"',
    "splitter": 'shape=trapezium orientation=90 style=filled fillcolor="#fdecd2" color="#a8640b"',
    "merger": 'shape=invtrapezium orientation=90 style=filled fillcolor="#efe3fa" color="#7440b0"',
    "sink": 'shape=cylinder style=filled fillcolor="#fbe1e4" color="#b0354a"',
}


def draw_dot(picture: Picture) -> str:
    """The digraph, from left to right; the shape and the text of a box say its kind, not the colour alone."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    yield f"digraph {_quoted(picture.title)} {{"
    yield '  rankdir=LR; node [fontname="sans-serif" fontcolor="#1b1f24"]; edge [fontname="sans-serif" fontsize=10];'
    for number, frame in enumerate(picture.frames):
        framed = len(picture.frames) > 1
        if framed:
            yield f"  subgraph cluster_{number} {{ label={_quoted('region ' + frame.name)}; style=dashed;"
        for name in frame.members:
            yield ("    " if framed else "  ") + _box(picture.figures[name])
        if framed:
            yield "  }"
    for arrow in picture.arrows:
        yield f"  {_quoted(arrow.source)} -> {_quoted(arrow.target)}{_options(arrow)};"
    yield "}"


def _box(figure: Figure) -> str:
    label = _quoted(figure.name, f"{figure.kind}: {figure.use}")
    return f"{_quoted(figure.name)} [label={label} {_STYLES[figure.kind]}];"


def _options(arrow: Arrow) -> str:
    options = [f"tooltip={_quoted(arrow.type)}"]
    if arrow.tail:
        options.append(f"taillabel={_quoted(arrow.tail)}")
    if arrow.head:
        options.append(f"headlabel={_quoted(arrow.head)}")
    if arrow.notes:
        options.append(f"label={_quoted(', '.join(arrow.notes))}")
    if arrow.durable:
        options.append("style=dashed")
    return f" [{' '.join(options)}]"


def _quoted(*lines: str) -> str:
    """A DOT string of one or several lines; a backslash would begin an escape sequence, and is doubled."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
