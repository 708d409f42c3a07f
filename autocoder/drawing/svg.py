"""A pipeline as one SVG that needs no other program, no font and no script, for light and dark surroundings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from autocoder.drawing.arrange import Arrangement, Rectangle, arrange
from autocoder.drawing.layers import Box, Line, Point
from autocoder.drawing.picture import Arrow, Figure, Picture

# Fixed-width letters make the width of a text known without the font: none of these is wider than 0.61 em.
FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
ADVANCE: Final = 0.61
NAME_SIZE: Final = 13.0
SMALL_SIZE: Final = 11.0
TITLE_SIZE: Final = 15.0
MOST_CHARACTERS: Final = 34
BOX_HEIGHT: Final = 46.0
SLOT_HEIGHT: Final = 20.0
TEXT_PADDING: Final = 18.0
LABEL_PADDING: Final = 8.0
ARROW_LENGTH: Final = 8.0
LOOP_DEPTH: Final = 12.0
MARGIN: Final = 20.0
CUT: Final = 9.0

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE: Final = """
  svg { color-scheme: light dark; }
  .ground { fill: #ffffff; } text { fill: #1b1f24; } .small { fill: #4a5561; }
  .line { fill: none; stroke: #5c6773; stroke-width: 1.5; } .durable { stroke-dasharray: 6 4; } .tip { fill: #5c6773; }
  .frame { fill: #f5f6f8; stroke: #a9b1ba; stroke-dasharray: 3 3; }
  .box { stroke-width: 1.5; }
  .source { fill: #dff3e4; stroke: #2f7d4a; } .transformer { fill: #e3ecfb; stroke: #3563b5; }
  .splitter { fill: #fdecd2; stroke: #a8640b; } .merger { fill: #efe3fa; stroke: #7440b0; }
  .sink { fill: #fbe1e4; stroke: #b0354a; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #14171b; } text { fill: #e8eaed; } .small { fill: #b3bcc6; }
    .line { stroke: #98a3af; } .tip { fill: #98a3af; } .frame { fill: #1b2026; stroke: #4f5963; }
    .source { fill: #173524; stroke: #5fb981; } .transformer { fill: #1a2b4a; stroke: #7da3ea; }
    .splitter { fill: #43300f; stroke: #e0a34d; } .merger { fill: #33204a; stroke: #b98be8; }
    .sink { fill: #451d25; stroke: #e8798c; }
  }
"""


def draw_svg(picture: Picture) -> str:
    """The drawing, from left to right; the shape and the text of a box say its kind, not the colour alone."""
    boxes = {name: _box(figure, picture) for name, figure in picture.figures.items()}
    lines = [_line(arrow) for arrow in picture.arrows]
    placed = arrange(boxes, lines, {frame.name: frame.members for frame in picture.frames})
    return "\n".join(_elements(picture, placed)) + "\n"


def text_width(text: str, size: float) -> float:
    """How wide a text is at most, in pixels; letters of East Asian scripts and symbols count as two."""
    cells = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
    return cells * size * ADVANCE


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text cut in its middle to `most` characters: both ends of a name tell it from others."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def _subtitle(figure: Figure) -> str:
    return shortened(f"{figure.kind} · {figure.use}", MOST_CHARACTERS + 6)


def _slot(port: str, arrow: Arrow) -> str:
    """Lines of one port share a slot, unless one of them is special and says so."""
    return "\0".join((port, *arrow.notes))


def _labels_of(arrow: Arrow) -> tuple[str, str]:
    """What stands at the two ends of a line: the ports where they need names, and what is special about it."""
    tail, head, notes = shortened(arrow.tail, 24), shortened(arrow.head, 24), ", ".join(arrow.notes)
    if not notes:
        return tail, head
    if head and not tail:
        return "", f"{head} ({notes})"
    return (f"{tail} ({notes})" if tail else notes), head


def _box(figure: Figure, picture: Picture) -> Box:
    width = max(text_width(shortened(figure.name), NAME_SIZE), text_width(_subtitle(figure), SMALL_SIZE))
    outs = {_slot(arrow.output, arrow) for arrow in picture.arrows if arrow.source == figure.name}
    ins = {_slot(arrow.port, arrow) for arrow in picture.arrows if arrow.target == figure.name}
    height = max(BOX_HEIGHT, SLOT_HEIGHT * max(len(outs), len(ins)))
    if any(arrow.source == arrow.target == figure.name for arrow in picture.arrows):
        height += LOOP_DEPTH
    return Box(width + 2 * TEXT_PADDING, height)


def _line(arrow: Arrow) -> Line:
    tail, head = _labels_of(arrow)
    return Line(
        arrow.source, _slot(arrow.output, arrow), arrow.target, _slot(arrow.port, arrow),
        text_width(tail, SMALL_SIZE) + LABEL_PADDING if tail else 0.0,
        ARROW_LENGTH + (text_width(head, SMALL_SIZE) + LABEL_PADDING if head else 0.0),
    )  # fmt: skip


def _elements(picture: Picture, placed: Arrangement) -> Iterator[str]:
    title_height = TITLE_SIZE + MARGIN
    width = max(placed.width, text_width(picture.title, TITLE_SIZE)) + 2 * MARGIN
    height = placed.height + 2 * MARGIN + title_height
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family={quoteattr(FONT)}>'
    yield f"<title>{_clean('pipeline ' + picture.title)}</title>"
    yield f"<desc>{_clean(_spoken(picture))}</desc>"
    yield f"<style>{STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0.5 L8 4 L0 7.5 Z"/></marker></defs>'
    )
    yield '<rect class="ground" width="100%" height="100%"/>'
    yield _text(MARGIN, MARGIN + TITLE_SIZE * 0.8, picture.title, TITLE_SIZE, bold=True)
    yield f'<g transform="translate({MARGIN:.0f} {MARGIN + title_height:.0f})">'
    if len(placed.frames) > 1:
        for name, frame in placed.frames.items():
            yield from _frame(name, frame)
    loops = {arrow.source for arrow in picture.arrows if arrow.source == arrow.target}
    for arrow, route in zip(picture.arrows, placed.routes, strict=True):
        yield _arrow(arrow, _path(route) if route else _loop(placed.boxes[arrow.source]))
    for name, figure in picture.figures.items():
        box = placed.boxes[name]
        if name in loops:
            box = Rectangle(box.x, box.y, box.width, box.height - LOOP_DEPTH)
        yield from _figure(figure, box)
    labels = [each for arrow, route in zip(picture.arrows, placed.routes, strict=True) for each in _ends(arrow, route)]
    yield from dict.fromkeys(labels)  # lines of one port share its name
    yield "</g>"
    yield "</svg>"


def _spoken(picture: Picture) -> str:
    """The drawing for those who do not see it."""
    ways = "; ".join(f"{each.source}.{each.output} to {each.target}.{each.port}" for each in picture.arrows)
    return f"{picture.description.strip()} {ways}".strip()


def _frame(name: str, frame: Rectangle) -> Iterator[str]:
    yield f'<rect class="frame" {_size(frame)} rx="8"/>'
    most = int((frame.width - 20) / (SMALL_SIZE * ADVANCE))
    yield _text(frame.x + 10, frame.y + 18, shortened(f"region {name}", max(most, 8)), SMALL_SIZE, kind="small")


def _figure(figure: Figure, box: Rectangle) -> Iterator[str]:
    middle, center = box.y + box.height / 2, box.x + box.width / 2
    yield f"<g><title>{_clean(f'{figure.name}: {figure.kind}, {figure.use}')}</title>"
    yield f'<path class="box {figure.kind}" d="{_SHAPES[figure.kind](box)}"/>'
    yield _text(center, middle - 3, shortened(figure.name), NAME_SIZE, anchor="middle", bold=True)
    yield _text(center, middle + 14, _subtitle(figure), SMALL_SIZE, anchor="middle", kind="small")
    yield "</g>"


def _arrow(arrow: Arrow, path: str) -> str:
    kind = "line durable" if arrow.durable else "line"
    said = f"{arrow.source}.{arrow.output} to {arrow.target}.{arrow.port}: {arrow.type}"
    said += "".join(f", {note}" for note in arrow.notes)
    return f'<path class="{kind}" marker-end="url(#tip)" d="{path}"><title>{_clean(said)}</title></path>'


def _ends(arrow: Arrow, route: Sequence[Point]) -> Iterator[str]:
    """The names of ports where a line leaves and arrives, on the side of the box to which the line runs."""
    for label, points, gap in zip(
        _labels_of(arrow), (route[:2], route[:-3:-1]), (4.0, 4.0 + ARROW_LENGTH), strict=True
    ):
        if label and points:
            (x, y), (towards, _) = points
            way, anchor = (1, "start") if towards >= x else (-1, "end")
            yield _text(x + way * gap, y - 4, label, SMALL_SIZE, anchor=anchor, kind="small")


def _path(route: Sequence[Point]) -> str:
    """Straight where two points are level, else a curve that leaves and arrives level."""
    parts = [f"M{_at(route[0])}"]
    for (x, y), (next_x, next_y) in pairwise(route):
        if abs(y - next_y) < 0.05:
            parts.append(f"L{_at((next_x, next_y))}")
        else:
            half = (x + next_x) / 2
            parts.append(f"C{_at((half, y))} {_at((half, next_y))} {_at((next_x, next_y))}")
    return " ".join(parts)


def _loop(box: Rectangle) -> str:
    """From a box to itself, below it."""
    bottom, low = box.y + box.height - LOOP_DEPTH, box.y + box.height + 2
    right, left = box.x + box.width * 0.65, box.x + box.width * 0.35
    return f"M{_at((right, bottom))} C{_at((right, low))} {_at((left, low))} {_at((left, bottom))}"


def _polygon(*points: Point) -> str:
    return f"M{' L'.join(_at(point) for point in points)} Z"


def _source_shape(box: Rectangle) -> str:
    """Round on the left: nothing goes in."""
    return _rounded(box, left=min(box.height / 2, 20.0), right=3.0)


def _transformer_shape(box: Rectangle) -> str:
    return _rounded(box, left=5.0, right=5.0)


def _sink_shape(box: Rectangle) -> str:
    """Round on the right: nothing comes out."""
    return _rounded(box, left=3.0, right=min(box.height / 2, 20.0))


def _splitter_shape(box: Rectangle) -> str:
    """Narrow on the left, wide on the right."""
    x, y, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    return _polygon((x, y + CUT), (x + CUT, y), (right, y), (right, bottom), (x + CUT, bottom), (x, bottom - CUT))


def _merger_shape(box: Rectangle) -> str:
    """Wide on the left, narrow on the right."""
    x, y, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    return _polygon(
        (x, y), (right - CUT, y), (right, y + CUT), (right, bottom - CUT), (right - CUT, bottom), (x, bottom)
    )


_SHAPES: Final[dict[str, Callable[[Rectangle], str]]] = {
    "source": _source_shape,
    "transformer": _transformer_shape,
    "splitter": _splitter_shape,
    "merger": _merger_shape,
    "sink": _sink_shape,
}


def _rounded(box: Rectangle, *, left: float, right: float) -> str:
    x, y, end, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    return (
        f"M{_at((x + left, y))} L{_at((end - right, y))} A{right:g} {right:g} 0 0 1 {_at((end, y + right))} "
        f"L{_at((end, bottom - right))} A{right:g} {right:g} 0 0 1 {_at((end - right, bottom))} "
        f"L{_at((x + left, bottom))} A{left:g} {left:g} 0 0 1 {_at((x, bottom - left))} "
        f"L{_at((x, y + left))} A{left:g} {left:g} 0 0 1 {_at((x + left, y))} Z"
    )


def _text(
    x: float, y: float, text: str, size: float, *, anchor: str = "start", bold: bool = False, kind: str = ""
) -> str:
    style = f' class="{kind}"' if kind else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"{weight}{style}>{_clean(text)}</text>'


def _size(box: Rectangle) -> str:
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def _clean(text: str) -> str:
    """Escaped, and without the control characters that no XML may hold."""
    return escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))
