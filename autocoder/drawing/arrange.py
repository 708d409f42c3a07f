"""Places a whole picture: every frame laid out on its own, then the frames among themselves, then one drawing of both.

A line between two frames leaves its own frame at a point of the frame's side, so it keeps clear of the boxes inside.
Lines that lead back (a loop closed through a durable channel) are laid out from their end to their start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from autocoder.drawing.layers import Box, Layout, Line, Point, lay_out

FRAME_PADDING: Final = 20.0
FRAME_TITLE: Final = 18.0


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Left upper corner and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Boxes and frames by name; `routes` join the lines' ends, in the order given (empty for a line to its own start)."""

    boxes: Mapping[str, Rectangle]
    frames: Mapping[str, Rectangle]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def arrange(boxes: Mapping[str, Box], lines: Sequence[Line], frames: Mapping[str, Sequence[str]]) -> Arrangement:
    """Place boxes, lines and frames; every box is in exactly one frame. A single frame takes no room and is not drawn."""
    ahead, turned = _ahead(boxes, lines, frames)
    scene = _Scene(boxes, ahead, {name: frame for frame, members in frames.items() for name in members})
    inner = {frame: scene.inside(members) for frame, members in frames.items()}
    side, above = (FRAME_PADDING, FRAME_PADDING + FRAME_TITLE) if len(frames) > 1 else (0.0, 0.0)
    outer = scene.outside(inner, side, above)
    moves = {frame: (x + side, y + above) for frame, (x, y) in outer.layout.corners.items()}
    places = {name: _moved(inner[frame].layout.corners[name], moves[frame]) for name, frame in scene.frame_of.items()}
    routes = []
    for number in range(len(lines)):
        route = scene.route(number, inner, outer, moves) if number in ahead else ()
        routes.append(route[::-1] if number in turned else route)
    return Arrangement(
        {name: Rectangle(*places[name], box.width, box.height) for name, box in boxes.items()},
        {
            frame: Rectangle(*corner, outer.boxes[frame].width, outer.boxes[frame].height)
            for frame, corner in outer.layout.corners.items()
        },
        tuple(routes),
        outer.layout.width,
        outer.layout.height,
    )


def _ahead(
    boxes: Mapping[str, Box], lines: Sequence[Line], frames: Mapping[str, Sequence[str]]
) -> tuple[dict[int, Line], set[int]]:
    """The lines by number, those that lead back turned round (and named); those from a box to itself are left out."""
    ranks = {name: rank for rank, name in enumerate(boxes)}
    frame_ranks = {name: rank for rank, members in enumerate(frames.values()) for name in members}
    ahead: dict[int, Line] = {}
    turned: set[int] = set()
    for number, line in enumerate(lines):
        if line.start == line.end:
            continue
        if (frame_ranks[line.start], ranks[line.start]) < (frame_ranks[line.end], ranks[line.end]):
            ahead[number] = line
        else:
            turned.add(number)
            ahead[number] = Line(line.end, line.end_slot, line.start, line.start_slot, line.end_room, line.start_room)
    return ahead, turned


@dataclass(frozen=True, slots=True)
class _Placed:
    """A layout of some boxes, and where each line of the picture stands among its routes."""

    layout: Layout
    boxes: Mapping[str, Box]
    numbers: Mapping[int, int]

    def route(self, number: int) -> tuple[Point, ...]:
        return self.layout.routes[self.numbers[number]]


@dataclass(frozen=True, slots=True)
class _Scene:
    """What there is to place: boxes, lines that lead ahead, and the frame of each box."""

    boxes: Mapping[str, Box]
    lines: Mapping[int, Line]
    frame_of: Mapping[str, str]

    def inside(self, members: Sequence[str]) -> _Placed:
        """One frame; lines that cross its border end at doors, boxes without size in the first or the last layer."""
        own = set(members)
        entries: dict[str, Box] = {}
        exits: dict[str, Box] = {}
        lines: list[Line] = []
        numbers: dict[int, int] = {}
        for number, line in self.lines.items():
            starts, ends = line.start in own, line.end in own
            if starts and ends:
                lines.append(line)
            elif starts:
                exits[_door(number)] = Box(0.0, 0.0, is_last=True)
                lines.append(replace(line, end=_door(number), end_slot="door", end_room=0.0))
            elif ends:
                entries[_door(number)] = Box(0.0, 0.0)
                lines.append(replace(line, start=_door(number), start_slot="door", start_room=0.0))
            else:
                continue
            numbers[number] = len(lines) - 1
        boxes = {**entries, **{name: box for name, box in self.boxes.items() if name in own}, **exits}
        return _Placed(lay_out(boxes, lines), boxes, numbers)

    def outside(self, inner: Mapping[str, _Placed], side: float, above: float) -> _Placed:
        """The frames as boxes, whose slots are where the lines cross their borders."""
        left: dict[str, dict[str, float]] = {frame: {} for frame in inner}
        right: dict[str, dict[str, float]] = {frame: {} for frame in inner}
        lines: list[Line] = []
        numbers: dict[int, int] = {}
        for number, line in self.lines.items():
            one, other, slot = self.frame_of[line.start], self.frame_of[line.end], str(number)
            if one != other:
                right[one][slot] = above + inner[one].layout.corners[_door(number)][1]
                left[other][slot] = above + inner[other].layout.corners[_door(number)][1]
                numbers[number] = len(lines)
                lines.append(Line(one, slot, other, slot))
        boxes = {
            frame: Box(each.layout.width + 2 * side, each.layout.height + above + side, left[frame], right[frame])
            for frame, each in inner.items()
        }
        return _Placed(lay_out(boxes, lines), boxes, numbers)

    def route(
        self, number: int, inner: Mapping[str, _Placed], outer: _Placed, moves: Mapping[str, Point]
    ) -> tuple[Point, ...]:
        """The whole way of a line: inside of its frame, between the frames, inside of the other frame."""
        line = self.lines[number]
        one, other = self.frame_of[line.start], self.frame_of[line.end]
        route = tuple(_moved(point, moves[one]) for point in inner[one].route(number))
        if one == other:
            return route
        arriving = tuple(_moved(point, moves[other]) for point in inner[other].route(number))
        return (*route, *outer.route(number), *arriving)


def _door(number: int) -> str:
    return f"\0door {number}"


def _moved(point: Point, by: Point) -> Point:
    return (point[0] + by[0], point[1] + by[1])
