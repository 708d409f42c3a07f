"""A pipeline as a Mermaid flowchart, as Markdown viewers draw it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from autocoder.drawing.picture import Arrow, Figure, Picture

_SHAPES: Final = {
    "source": ("([", "])"),
    "transformer": ("[", "]"),
    "splitter": ("[/", "\\]"),
    "merger": ("[\\", "/]"),
    "sink": ("[(", ")]"),
}
_COLORS: Final = {
    "source": "fill:#dff3e4,stroke:#2f7d4a",
    "transformer": "fill:#e3ecfb,stroke:#3563b5",
    "splitter": "fill:#fdecd2,stroke:#a8640b",
    "merger": "fill:#efe3fa,stroke:#7440b0",
    "sink": "fill:#fbe1e4,stroke:#b0354a",
}
PLAIN: Final = " _.,:-"


def draw_mermaid(picture: Picture) -> str:
    """The flowchart, from left to right; the shape and the text of a box say its kind, not the colour alone."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    # Names become n0, n1, ...: some words (`end`, `graph`) are no names in Mermaid.
    names = {name: f"n{number}" for number, name in enumerate(picture.figures)}
    yield from ("---", f"title: {json.dumps(picture.title)}", "---", "flowchart LR")
    for number, frame in enumerate(picture.frames):
        framed = len(picture.frames) > 1
        if framed:
            yield f'  subgraph r{number}["{_text("region " + frame.name)}"]'
        for name in frame.members:
            yield ("    " if framed else "  ") + _box(names[name], picture.figures[name])
        if framed:
            yield "  end"
    for arrow in picture.arrows:
        yield f"  {names[arrow.source]} {_arrow(arrow)} {names[arrow.target]}"
    for kind in dict.fromkeys(figure.kind for figure in picture.figures.values()):
        yield f"  classDef {kind} {_COLORS[kind]},color:#1b1f24"


def _box(key: str, figure: Figure) -> str:
    before, after = _SHAPES[figure.kind]
    return f'{key}{before}"{_text(figure.name)}<br/>{_text(f"{figure.kind}: {figure.use}")}"{after}:::{figure.kind}'


def _arrow(arrow: Arrow) -> str:
    label = " to ".join(part for part in (arrow.tail, arrow.head) if part)
    label = ", ".join(part for part in (label, *arrow.notes) if part)
    line = "-.->" if arrow.durable else "-->"
    return f'{line}|"{_text(label)}"|' if label else line


def _text(text: str) -> str:
    """Anything but letters, digits and harmless signs as a character code: nothing is read as Mermaid, Markdown or HTML."""
    return "".join(each if each.isalnum() or each in PLAIN else f"#{ord(each)};" for each in text)
