"""Where boxes and lines go, from left to right: layers, an order within each that crosses little, and coordinates.

The method of Sugiyama, Tagawa and Toda (1981): a box stands one layer behind the last one that it takes from; a line over
several layers gets a bend in each; the order within a layer follows the mean of the neighbours (barycentre), swept to and
fro; heights follow the neighbours as far as the room that each needs allows (isotonic regression, which keeps order and
distance exactly, so boxes never overlap). Knows nothing of components. Lines must form no cycle.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

BOX_GAP: Final = 30.0
BEND_GAP: Final = 14.0
LAYER_GAP: Final = 44.0
STEEPEST: Final = 0.22  # of the height that a line climbs between two layers, as room for its curve
MOST_CURVE: Final = 160.0
ALMOST_LEVEL: Final = 6.0
SWEEPS: Final = 16
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a size. `left` and `right` fix where slots are, from the top; those not given are spread evenly."""

    width: float
    height: float
    left: Mapping[str, float] = field(default_factory=dict)
    right: Mapping[str, float] = field(default_factory=dict)
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line from the right side of one box to the left side of another, by slots; `room` keeps ends straight for text."""

    start: str
    start_slot: str
    end: str
    end_slot: str
    start_room: float = 0.0
    end_room: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Left upper corners of the boxes by name, and each line as points to be joined, level where the height is the same."""

    corners: Mapping[str, Point]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(eq=False, slots=True)
class _Vertex:
    """A box, or (without a name) the bend of a line in a layer that it crosses."""

    name: str
    box: Box
    layer: int
    y: float = 0.0
    left: dict[str, float] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    before: list[_Segment] = field(default_factory=list)
    after: list[_Segment] = field(default_factory=list)

    @property
    def is_bend(self) -> bool:
        return not self.name


@dataclass(eq=False, slots=True)
class _Segment:
    """A piece of a line between two neighbouring layers."""

    start: _Vertex
    start_slot: str
    end: _Vertex
    end_slot: str

    @property
    def start_y(self) -> float:
        return self.start.y + self.start.right[self.start_slot]

    @property
    def end_y(self) -> float:
        return self.end.y + self.end.left[self.end_slot]


@dataclass(slots=True)
class _Column:
    """Where a layer stands, and the room right of it that lines leave for text before and after they climb."""

    width: float
    left: float = 0.0
    start_room: float = 0.0
    end_room: float = 0.0

    @property
    def right(self) -> float:
        return self.left + self.width


def lay_out(boxes: Mapping[str, Box], lines: Sequence[Line]) -> Layout:
    """Place boxes and lines. `boxes` come in an order in which lines lead forward; raises KeyError for unknown names."""
    layers = _layers(boxes, lines)
    vertices = {name: _Vertex(name, box, layers[name]) for name, box in boxes.items()}
    columns: list[list[_Vertex]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for vertex in vertices.values():
        columns[vertex.layer].append(vertex)
    chains = [_chain(line, vertices, columns) for line in lines]
    _reduce_crossings(columns)
    for column in columns:
        for vertex in column:
            _spread_slots(vertex, columns)
    _set_heights(columns)
    return _finish(vertices, chains, _set_columns(columns, lines, chains))


def _layers(boxes: Mapping[str, Box], lines: Sequence[Line]) -> dict[str, int]:
    """The layer of each box: behind all that it takes from, and a beginning right before what takes from it."""
    layers = dict.fromkeys(boxes, 0)
    incoming: dict[str, list[str]] = {name: [] for name in boxes}
    outgoing: dict[str, list[str]] = {name: [] for name in boxes}
    for line in lines:
        incoming[line.end].append(line.start)
        outgoing[line.start].append(line.end)
    for name in boxes:
        layers[name] = max((layers[each] + 1 for each in incoming[name]), default=0)
    last = max(layers.values(), default=0)
    for name, box in boxes.items():
        if box.is_last:
            layers[name] = last
        elif not incoming[name] and outgoing[name] and box.height:
            layers[name] = max(0, min(layers[each] for each in outgoing[name]) - 1)
    return layers


def _chain(line: Line, vertices: Mapping[str, _Vertex], columns: Sequence[list[_Vertex]]) -> list[_Segment]:
    """The line as segments, with a bend in each layer that it crosses."""
    start, slot, segments = vertices[line.start], line.start_slot, []
    for layer in range(start.layer + 1, vertices[line.end].layer):
        bend = _Vertex("", Box(0.0, 0.0), layer)
        columns[layer].append(bend)
        segments.append(_Segment(start, slot, bend, "bend"))
        start, slot = bend, "bend"
    segments.append(_Segment(start, slot, vertices[line.end], line.end_slot))
    for segment in segments:
        segment.start.after.append(segment)
        segment.end.before.append(segment)
    return segments


# -- the order within layers ------------------------------------------------------------------------------------------


def _reduce_crossings(columns: list[list[_Vertex]]) -> None:
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        order = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for at in order:
            _sort_by_neighbours(columns[at], columns[at - 1 if forward else at + 1], forward=forward)
        found = _crossings(columns)
        if found < fewest:
            best, fewest = [list(column) for column in columns], found
    columns[:] = best


def _sort_by_neighbours(column: list[_Vertex], neighbours: Sequence[_Vertex], *, forward: bool) -> None:
    places = {id(vertex): place for place, vertex in enumerate(neighbours)}
    means: dict[int, float] = {}
    for place, vertex in enumerate(column):
        ends = [each.start for each in vertex.before] if forward else [each.end for each in vertex.after]
        found = [places[id(each)] for each in ends]
        means[id(vertex)] = sum(found) / len(found) if found else float(place)
    column.sort(key=lambda vertex: means[id(vertex)])


def _crossings(columns: Sequence[Sequence[_Vertex]]) -> int:
    """How many pairs of segments cross: inversions, layer by layer."""
    total = 0
    for column, following in pairwise(columns):
        places = {id(vertex): place for place, vertex in enumerate(following)}
        seen: list[int] = []
        for vertex in column:
            ends = sorted(places[id(segment.end)] for segment in vertex.after)
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _spread_slots(vertex: _Vertex, columns: Sequence[Sequence[_Vertex]]) -> None:
    """Give each slot its place on the side of its box, in the order of what is at the other ends."""
    if vertex.is_bend:
        vertex.left, vertex.right = {"bend": 0.0}, {"bend": 0.0}
        return
    vertex.left, vertex.right = dict(vertex.box.left), dict(vertex.box.right)
    for segments, side, step in ((vertex.before, vertex.left, -1), (vertex.after, vertex.right, 1)):
        far = columns[vertex.layer + step] if segments else ()
        places = {id(each): place for place, each in enumerate(far)}
        ends: dict[str, list[int]] = {}
        for segment in segments:
            slot, end = (segment.end_slot, segment.start) if step < 0 else (segment.start_slot, segment.end)
            if slot not in side:
                ends.setdefault(slot, []).append(places[id(end)])
        ordered = sorted(ends, key=lambda slot: sum(ends[slot]) / len(ends[slot]))
        for number, slot in enumerate(ordered):
            side[slot] = vertex.box.height * (number + 0.5) / len(ordered)


# -- coordinates ------------------------------------------------------------------------------------------------------


def _set_heights(columns: Sequence[list[_Vertex]]) -> None:
    for column in columns:
        _place(column, [0.0] * len(column))
    ways = [(True, False), (False, True)] * (SWEEPS // 2) + [(True, True), (True, True)]
    for before, after in ways:
        for column in columns if before else reversed(columns):
            wanted = [_wanted(vertex, before=before, after=after) for vertex in column]
            _place(column, wanted)
    for column in columns:
        _place(column, [_straightened(vertex) for vertex in column])


def _straightened(vertex: _Vertex) -> float:
    """Level with the one before it, if that is almost so: what is left over from the means looks like a mistake."""
    if len(vertex.before) != 1:
        return vertex.y
    height = _wanted(vertex, before=True, after=False)
    return height if abs(height - vertex.y) < ALMOST_LEVEL else vertex.y


def _wanted(vertex: _Vertex, *, before: bool, after: bool) -> float:
    """The height at which the lines of a box would be level on average."""
    heights = [each.start_y - vertex.left[each.end_slot] for each in vertex.before] if before else []
    heights += [each.end_y - vertex.right[each.start_slot] for each in vertex.after] if after else []
    return sum(heights) / len(heights) if heights else vertex.y


def _place(column: Sequence[_Vertex], wanted: Sequence[float]) -> None:
    """As near to the wanted heights as the order and the room of each allow (pool adjacent violators)."""
    offsets, offset = [], 0.0
    for number, vertex in enumerate(column):
        if number:
            above = column[number - 1]
            gap = BEND_GAP if vertex.is_bend or above.is_bend else BOX_GAP
            offset += above.box.height + gap
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for vertex, height, offset in zip(column, wanted, offsets, strict=True):
        mean, weight, members = height - offset, 4.0 if vertex.is_bend else 1.0 + len(vertex.before), 1
        while pools and pools[-1][0] > mean:
            other_mean, other_weight, others = pools.pop()
            mean = (mean * weight + other_mean * other_weight) / (weight + other_weight)
            weight, members = weight + other_weight, members + others
        pools.append((mean, weight, members))
    means = [mean for mean, _, members in pools for _ in range(members)]
    for vertex, mean, offset in zip(column, means, offsets, strict=True):
        vertex.y = mean + offset


def _set_columns(
    columns: Sequence[Sequence[_Vertex]], lines: Sequence[Line], chains: Sequence[Sequence[_Segment]]
) -> list[_Column]:
    """Where each layer stands, with room between them for text and for curves."""
    found = [_Column(max((vertex.box.width for vertex in column), default=0.0)) for column in columns]
    climb = [0.0] * len(columns)
    for line, chain in zip(lines, chains, strict=True):
        first, last = found[chain[0].start.layer], found[chain[-1].start.layer]
        first.start_room = max(first.start_room, line.start_room)
        last.end_room = max(last.end_room, line.end_room)
        for segment in chain:
            layer = segment.start.layer
            climb[layer] = max(climb[layer], abs(segment.end_y - segment.start_y))
    left = 0.0
    for column, height in zip(found, climb, strict=True):
        column.left = left
        curve = max(LAYER_GAP, min(MOST_CURVE, STEEPEST * height))
        left = column.right + column.start_room + curve + column.end_room
    return found


def _finish(
    vertices: Mapping[str, _Vertex], chains: Sequence[Sequence[_Segment]], columns: Sequence[_Column]
) -> Layout:
    corners = {name: (columns[each.layer].left, each.y) for name, each in vertices.items()}
    routes = [_route(chain, corners, columns) for chain in chains]
    tops = [y for _, y in corners.values()] + [y for route in routes for _, y in route]
    top = min(tops, default=0.0)
    bottoms = [corners[name][1] + each.box.height for name, each in vertices.items()] + tops
    return Layout(
        {name: (x, y - top) for name, (x, y) in corners.items()},
        tuple(tuple((x, y - top) for x, y in route) for route in routes),
        columns[-1].right if columns else 0.0,
        max(bottoms, default=0.0) - top,
    )


def _route(chain: Sequence[_Segment], corners: Mapping[str, Point], columns: Sequence[_Column]) -> tuple[Point, ...]:
    """Level across the layers, so that it passes between the boxes; it climbs only between two layers."""
    first, last = chain[0], chain[-1]
    points = [(corners[first.start.name][0] + first.start.box.width, first.start_y)]
    for segment in chain:
        here, there = columns[segment.start.layer], columns[segment.end.layer]
        points.append((here.right + here.start_room, segment.start_y))
        points.append((there.left - here.end_room, segment.end_y))
    points.append((corners[last.end.name][0], last.end_y))
    return tuple(points)
