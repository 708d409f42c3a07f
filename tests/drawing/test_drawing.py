"""The drawings as their readers see them: complete, escaped, legible."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Pipeline
from autocoder.declaration import ChannelOptions
from autocoder.drawing import FORMATS, draw
from autocoder.drawing.dot import draw_dot
from autocoder.drawing.mermaid import draw_mermaid
from autocoder.drawing.picture import Arrow, Figure, Frame, Picture, draw_json, picture_of
from autocoder.drawing.svg import SMALL_SIZE, draw_svg, shortened, text_width
from tests.support import Both, Collect, Double, Numbers, Parity

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("source", "transformer", "splitter", "merger", "sink")
NASTY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def pipeline() -> Pipeline:
    made = Pipeline("diamond", description="Both ways.")
    numbers = made.add("numbers", Numbers(upto=10))
    parity = made.add("parity", Parity(), after=numbers)
    even = made.add("even", Double(), after=parity.port(Parity.even), channel=ChannelOptions(on_full="drop_oldest"))
    both = made.add("both", Both(), after={"left": even, "right": parity.port(Parity.odd)})
    made.add("memory", Collect(), after=both)
    made.add("keep", Collect(), after=both, channel=ChannelOptions(durable=True))
    return made


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    names = draw(st.lists(NASTY, min_size=1, max_size=6, unique=True))
    figures = {name: Figure(name, draw(st.sampled_from(KINDS)), draw(NASTY)) for name in names}
    ends, words = st.sampled_from(names), st.one_of(st.just(""), NASTY)
    arrows = tuple(
        Arrow(
            draw(ends), draw(ends), "out", "in", draw(NASTY), draw(words), draw(words), ("durable",) * durable, durable
        )
        for durable in draw(st.lists(st.booleans(), max_size=8))
    )
    cut = draw(st.integers(0, len(names)))
    frames = tuple(Frame(each[0], tuple(each)) for each in (names[:cut], names[cut:]) if each)
    return Picture(draw(NASTY), draw(words), figures, arrows, frames)


def test_a_picture_shows_every_component_and_every_channel_of_a_pipeline() -> None:
    picture = picture_of(pipeline().compile())
    assert {figure.name: figure.kind for figure in picture.figures.values()} == {
        "numbers": "source", "parity": "splitter", "even": "transformer", "both": "merger", "memory": "sink", "keep": "sink",
    }  # fmt: skip
    ends = {(arrow.source, arrow.target): (arrow.tail, arrow.head, arrow.notes) for arrow in picture.arrows}
    assert ends == {
        ("numbers", "parity"): ("", "", ()),
        ("parity", "even"): ("even", "", ("drops oldest",)),
        ("even", "both"): ("", "left", ()),
        ("parity", "both"): ("odd", "right", ()),
        ("both", "memory"): ("", "", ()),
        ("both", "keep"): ("", "", ("durable",)),
    }
    assert [set(frame.members) for frame in picture.frames] == [
        {"numbers", "parity", "even", "both", "memory"}, {"keep"},
    ]  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_each_form_names_every_component_and_region(form: str) -> None:
    drawing = draw(pipeline().compile(), form)
    for word in (
        "diamond",
        "numbers",
        "parity",
        "even",
        "both",
        "memory",
        "keep",
        "odd",
        "left",
        "durable",
        "drops oldest",
    ):
        assert word in drawing
    for kind in KINDS:
        assert kind in drawing
    assert drawing.endswith("\n")
    assert not drawing.endswith("\n\n")


class TestSvg:
    @given(pictures())
    def test_is_well_formed_whatever_the_names(self, picture: Picture) -> None:
        root = ElementTree.fromstring(draw_svg(picture).encode())
        assert root.tag == f"{SVG}svg"
        assert len(root.findall(f".//{SVG}path[@marker-end]")) == len(picture.arrows)
        assert not root.findall(".//{*}script")

    @given(pictures())
    def test_texts_fit_their_boxes_and_the_drawing(self, picture: Picture) -> None:
        root = ElementTree.fromstring(draw_svg(picture).encode())
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        group = root.find(f"{SVG}g")
        assert group is not None
        for figure in group.findall(f"{SVG}g"):
            xs = [
                float(x) for x in re.findall(r"[MLA ](-?[\d.]+) -?[\d.]+(?= |$)", figure.find(f"{SVG}path").attrib["d"])
            ]
            room = max(xs) - min(xs)
            for text in figure.findall(f"{SVG}text"):
                assert text_width(text.text or "", float(text.attrib["font-size"])) <= room
        for text in group.findall(f"{SVG}text"):
            long = text_width(text.text or "", SMALL_SIZE)
            start = float(text.attrib["x"]) + 20 - (long if text.attrib["text-anchor"] == "end" else 0)
            assert -1 <= start <= start + long <= width + 1
            assert 0 <= float(text.attrib["y"]) <= height

    def test_says_the_kind_in_words_and_in_shape(self) -> None:
        root = ElementTree.fromstring(draw(pipeline().compile(), "svg"))
        shapes: dict[str, str] = {}
        for group in root.findall(f"{SVG}g/{SVG}g"):
            path, (_, small) = group.find(f"{SVG}path"), group.findall(f"{SVG}text")
            assert path is not None
            radii = re.findall(r"A([\d.]+)", path.attrib["d"])
            shapes[(small.text or "").partition(" ")[0]] = re.sub(r"[^A-Z]", "", path.attrib["d"]) + " ".join(radii)
        assert set(shapes) == set(KINDS)
        assert shapes["source"] != shapes["sink"] != shapes["transformer"] != shapes["source"]
        assert shapes["splitter"] == shapes["merger"] == "MLLLLLZ"  # each the mirror image of the other

    def test_has_colours_for_light_and_dark(self) -> None:
        drawing = draw(pipeline().compile(), "svg")
        assert "prefers-color-scheme: dark" in drawing
        dark = drawing.partition("prefers-color-scheme: dark")[2]
        for kind in KINDS:
            assert f".{kind} {{ fill:" in dark

    def test_frames_regions_only_where_there_are_several(self) -> None:
        assert draw(pipeline().compile(), "svg").count('class="frame"') == 2
        single = Pipeline("single")
        single.add("out", Collect(), after=single.add("in", Numbers(upto=1)))
        assert 'class="frame"' not in draw(single.compile(), "svg")

    def test_a_long_name_is_cut_in_the_middle_and_told_in_full(self) -> None:
        name = "a_component_with_a_name_that_is_longer_than_any_box_should_be"
        made = Pipeline("long")
        made.add("out", Collect(), after=made.add(name, Numbers(upto=1)))
        drawing = draw(made.compile(), "svg")
        assert f">{shortened(name)}<" in drawing
        assert f"<title>{name}: source" in drawing

    def test_wide_letters_count_twice(self) -> None:
        assert text_width("日本", 10) == text_width("abcd", 10)

    @given(NASTY, st.integers(5, 40))
    def test_what_is_cut_keeps_both_ends(self, text: str, most: int) -> None:
        short = shortened(text, most)
        assert len(short) <= max(most, 1)
        if len(text) > most:
            assert text.startswith(short.partition("…")[0][:1])
            assert short[-1] == text[-1]


class TestMermaid:
    @given(pictures())
    def test_has_a_line_for_everything_and_nothing_to_break_out_with(self, picture: Picture) -> None:
        drawing = draw_mermaid(picture)
        title, _, chart = drawing.partition("---\nflowchart LR\n")
        assert json.loads(title.removeprefix("---\ntitle: ")) == picture.title
        lines = [line.strip() for line in chart.split("\n")]
        assert sum(bool(re.match(r"n\d+[(\[]", line)) for line in lines) == len(picture.figures)
        assert sum(bool(re.match(r"n\d+ (-->|-\.->)", line)) for line in lines) == len(picture.arrows)
        for line in lines:
            for label in re.findall(r'"(.*?)"', line):
                assert not set(label.replace("<br/>", "")) & set('<>"`\\|[]{}()&')

    def test_names_are_those_of_people(self) -> None:
        drawing = draw(pipeline().compile(), "mermaid")
        assert 'n0(["numbers<br/>source: Numbers"]):::source' in drawing
        assert '-->|"odd to right"|' in drawing
        assert '-.->|"durable"|' in drawing
        assert 'subgraph r1["region keep"]' in drawing


class TestDot:
    @given(pictures())
    def test_every_quote_is_closed(self, picture: Picture) -> None:
        without = re.sub(r'"(?:[^"\\]|\\.)*"', "", draw_dot(picture), flags=re.DOTALL)
        assert '"' not in without
        assert without.count("{") == without.count("}")

    def test_a_backslash_is_a_letter(self) -> None:
        figure = Figure("a\\", "source", 'the "b"\\n')
        drawing = draw_dot(Picture("t", "", {"a": figure}, (), (Frame("a", ("a",)),)))
        assert r""""a\\" [label="a\\\nsource: the \"b\"\\n" """ in drawing

    def test_names_ports_and_regions(self) -> None:
        drawing = draw(pipeline().compile(), "dot")
        assert '"parity" -> "both" [tooltip="int" taillabel="odd" headlabel="right"];' in drawing
        assert 'subgraph cluster_1 { label="region keep"' in drawing
        assert '"numbers" [label="numbers\\nsource: Numbers"' in drawing


@given(pictures())
def test_json_is_the_picture(picture: Picture) -> None:
    data = json.loads(draw_json(picture))
    assert data["title"] == picture.title
    assert [each["name"] for each in data["figures"]] == list(picture.figures)
    assert len(data["arrows"]) == len(picture.arrows)
