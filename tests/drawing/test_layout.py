"""Where boxes and lines go: whatever the graph, nothing lies on anything else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoder.drawing.arrange import Arrangement, Rectangle, arrange
from autocoder.drawing.layers import Box, Line, Point, lay_out

Scene = tuple[dict[str, Box], list[Line], dict[str, list[str]]]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Boxes of any size, lines between them (ahead, back, several, to themselves), and a frame for each box."""
    count = draw(st.integers(1, 14))
    sizes = st.floats(20, 300)
    boxes = {f"b{number}": Box(draw(sizes), draw(sizes)) for number in range(count)}
    ends = st.integers(0, count - 1)
    slots, room = st.sampled_from("xyz"), st.floats(0, 80)
    lines = [
        Line(f"b{draw(ends)}", draw(slots), f"b{draw(ends)}", draw(slots), draw(room), draw(room))
        for _ in range(draw(st.integers(0, 24)))
    ]
    frames: dict[str, list[str]] = {}
    for name in boxes:
        frames.setdefault(f"f{draw(st.integers(0, 3))}", []).append(name)
    return boxes, lines, frames


def overlap(one: Rectangle, other: Rectangle, slack: float = 0.01) -> bool:
    return (
        one.x + one.width > other.x + slack
        and other.x + other.width > one.x + slack
        and one.y + one.height > other.y + slack
        and other.y + other.height > one.y + slack
    )


def inside(inner: Rectangle, outer: Rectangle, slack: float = 0.01) -> bool:
    return (
        inner.x >= outer.x - slack
        and inner.y >= outer.y - slack
        and inner.x + inner.width <= outer.x + outer.width + slack
        and inner.y + inner.height <= outer.y + outer.height + slack
    )


def on_side(point: Point, box: Rectangle) -> bool:
    """Whether a point lies on the left or the right side of a box."""
    at_side = min(abs(point[0] - box.x), abs(point[0] - box.x - box.width)) < 0.01
    return at_side and box.y - 0.01 <= point[1] <= box.y + box.height + 0.01


def drawn(route: Sequence[Point]) -> list[Point]:
    """Points on the line as it is drawn: level pieces, and curves that leave and arrive level."""
    points: list[Point] = []
    for (x, y), (next_x, next_y) in pairwise(route):
        half = (x + next_x) / 2
        for step in range(13):
            t = step / 12
            ways = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
            xs, ys = (x, half, half, next_x), (y, y, next_y, next_y)
            points.append((
                sum(w * c for w, c in zip(ways, xs, strict=True)), sum(w * c for w, c in zip(ways, ys, strict=True)),
            ))  # fmt: skip
    return points


@given(scenes())
def test_boxes_do_not_overlap(scene: Scene) -> None:
    placed = arrange(*scene)
    for (one, box), (other, another) in combinations(placed.boxes.items(), 2):
        assert not overlap(box, another), (one, other)


@given(scenes())
def test_every_line_ends_at_the_sides_of_its_boxes(scene: Scene) -> None:
    _, lines, _ = scene
    placed = arrange(*scene)
    for line, route in zip(lines, placed.routes, strict=True):
        if line.start == line.end:
            assert route == ()
        else:
            assert on_side(route[0], placed.boxes[line.start])
            assert on_side(route[-1], placed.boxes[line.end])


@given(scenes())
def test_no_line_runs_through_a_box(scene: Scene) -> None:
    placed = arrange(*scene)
    for route in placed.routes:
        for point in drawn(route):
            dot = Rectangle(*point, 0.0, 0.0)
            assert not any(overlap(dot, box, -0.0) and strictly_in(point, box) for box in placed.boxes.values())


def strictly_in(point: Point, box: Rectangle) -> bool:
    return box.x + 0.1 < point[0] < box.x + box.width - 0.1 and box.y + 0.1 < point[1] < box.y + box.height - 0.1


@given(scenes())
def test_frames_hold_their_boxes_and_do_not_overlap(scene: Scene) -> None:
    _, _, frames = scene
    placed = arrange(*scene)
    for frame, members in frames.items():
        assert all(inside(placed.boxes[name], placed.frames[frame]) for name in members)
    for one, other in combinations(placed.frames.values(), 2):
        assert not overlap(one, other)


@given(scenes())
def test_everything_fits_the_picture(scene: Scene) -> None:
    placed = arrange(*scene)
    whole = Rectangle(0, 0, placed.width, placed.height)
    assert all(inside(each, whole) for each in (*placed.boxes.values(), *placed.frames.values()))
    assert all(inside(Rectangle(x, y, 0, 0), whole) for route in placed.routes for x, y in route)


@given(scenes())
def test_the_same_graph_gives_the_same_drawing(scene: Scene) -> None:
    assert arrange(*scene) == arrange(*scene)


def chain(*names: str, height: float = 40.0) -> tuple[dict[str, Box], list[Line]]:
    lines = [Line(one, "out", other, "in") for one, other in pairwise(names)]
    return {name: Box(100.0, height) for name in names}, lines


def test_a_chain_is_level() -> None:
    placed = lay_out(*chain("a", "b", "c", "d"))
    assert len({y for _, y in placed.corners.values()}) == 1
    assert [x for x, _ in placed.corners.values()] == sorted({x for x, _ in placed.corners.values()})
    assert all(len({y for _, y in route}) == 1 for route in placed.routes)


def test_a_line_leads_to_the_right_and_one_that_leads_back_to_the_left() -> None:
    boxes, lines = chain("a", "b", "c")
    placed: Arrangement = arrange(boxes, [*lines, Line("c", "again", "a", "second")], {"f": list(boxes)})
    assert all(route[0][0] < route[-1][0] for route in placed.routes[:2])
    assert placed.routes[2][0][0] > placed.routes[2][-1][0]


def test_a_ladder_that_can_be_drawn_without_crossings_has_none() -> None:
    boxes = {name: Box(50.0, 30.0) for name in ("s", "a", "b", "c", "x", "y", "z", "t")}
    ways = (("a", "z"), ("b", "y"), ("c", "x"))  # crossing in the order they are given
    lines = [Line("s", one, one, "in") for one, _ in ways]
    lines += [Line(one, "out", other, "in") for one, other in ways] + [Line(end, "out", "t", end) for _, end in ways]
    corners = lay_out(boxes, lines).corners
    assert sorted(("a", "b", "c"), key=lambda name: corners[name][1]) == [
        {"z": "a", "y": "b", "x": "c"}[name] for name in sorted(("x", "y", "z"), key=lambda name: corners[name][1])
    ]


def test_a_beginning_stands_next_to_what_takes_from_it() -> None:
    boxes, lines = chain("a", "b", "c", "d")
    boxes = {"late": Box(100.0, 40.0), **boxes}
    corners = lay_out(boxes, [*lines, Line("late", "out", "d", "in")]).corners
    assert corners["late"][0] == corners["c"][0]


def test_slots_stand_in_the_order_of_the_other_ends() -> None:
    boxes = {"s": Box(100.0, 120.0), **{f"t{number}": Box(100.0, 40.0) for number in range(6)}}
    placed = lay_out(boxes, [Line("s", f"o{number}", f"t{number}", "in") for number in (3, 1, 5, 0, 2, 4)])
    starts = [route[0][1] for route in sorted(placed.routes, key=lambda route: route[-1][1])]
    assert starts == sorted(starts)
    assert len(set(starts)) == 6


def test_text_at_the_ends_has_its_room() -> None:
    boxes, _ = chain("a", "b")
    route = lay_out(boxes, [Line("a", "out", "b", "in", start_room=70.0, end_room=50.0)]).routes[0]
    assert route[1][0] - route[0][0] >= 70.0
    assert route[-1][0] - route[-2][0] >= 50.0


def test_an_unknown_box_is_an_error() -> None:
    with pytest.raises(KeyError):
        lay_out({"a": Box(1.0, 1.0)}, [Line("a", "out", "b", "in")])


def test_nothing_is_drawn_of_nothing() -> None:
    assert lay_out({}, []).width == 0.0
