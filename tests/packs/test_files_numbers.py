"""Numbers that are no JSON, or too large: files.ReadJsonLines rejects their lines, and writers say null."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.files import ReadCsv, ReadJsonLines, WriteCsv, WriteJsonLines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, FiniteFloat

from autocoder import Batch, Pipeline, PipelineError

pytestmark = pytest.mark.anyio


class Model(BaseModel):
    a: Any = None
    b: float = 0


@dataclass
class Plain:
    a: Any = None
    b: float = 0


KINDS: Sequence[Any] = (dict, Model, Plain)


async def read(path: Path, kind: Any = dict, **configured: Any) -> tuple[list[Any], list[tuple[str | None, str]]]:
    """The payloads, and place and error of what was rejected."""
    source: Any = ReadJsonLines(path=str(path), payload=kind, **configured)
    await source.open()
    found: list[Batch[Any]] = [batch async for batch in source.read(None)]
    await source.close()
    rejected = [(each.place, str(each.error)) for batch in found for each in batch.rejected]
    return [payload for batch in found for payload in batch.payloads], rejected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": NaN}', "NaN is no JSON, at column 7"),
        ('{"a":"é", "b": -Infinity}', "-Infinity is no JSON, at column 16"),
        ('{"b":Infinity}', "Infinity is no JSON, at column 6"),
        ('{"a": ["\\"NaN", {"b": [1,NaN]}]}', "NaN is no JSON, at column 26"),
        ('{"unknown":NaN}', "NaN is no JSON, at column 12"),
        ('{"b": 1e999}', "the number 1e999 is too large, at column 7"),
        ('{"b":-1.5E+0400,"a":1}', "the number -1.5E+0400 is too large, at column 6"),
        ('{"b":' + "9" * 309 + ".5}", f"the number {'9' * 20}... is too large, at column 6"),
        ('{"b":' + "9" * 250 + "e99}", f"the number {'9' * 20}... is too large, at column 6"),
    ],
)
async def test_a_number_that_is_none_makes_a_malformed_line(tmp_path: Path, kind: Any, line: str, said: str) -> None:
    path = tmp_path / "x"
    path.write_text(f'{{"a":1}}\n{line}\n{{"a":2}}\n', encoding="utf-8")
    good, rejected = await read(path, kind)
    assert [each["a"] if kind is dict else each.a for each in good] == [1, 2]
    assert rejected == [(f"{path}:2", said)]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_only_looks_like_such_a_number_passes(tmp_path: Path, kind: Any) -> None:
    texts = ["NaN", "-Infinity", "1e999", "a NaN, Infinity] 5e999}", '"NaN', "\\", "\\NaN, ", "Information", "0e9999"]
    path = tmp_path / "x"
    lines = [*(json.dumps({"a": text}) for text in texts), '{"a":1e308}', '{"a":0e9999}', '{"a":' + "9" * 400 + "}"]
    path.write_text("\n".join(lines))
    good, rejected = await read(path, kind)
    found = [each["a"] if kind is dict else each.a for each in good]
    assert (found, rejected) == ([*texts, 1e308, 0.0, int("9" * 400)], [])


async def test_a_float_may_be_a_word_in_a_string_where_its_type_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('{"b":"NaN"}')
    ([payload], rejected) = await read(path, Model)
    assert math.isnan(payload.b) and not rejected


async def test_such_numbers_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes('{"a":"é"}\n{"a":"é","b":NaN}'.encode("latin-1"))
    for kind in KINDS:
        good, rejected = await read(path, kind, encoding="latin-1")
        assert len(good) == 1 and rejected == [(f"{path}:2", "NaN is no JSON, at column 14")]


async def test_other_payloads_than_objects(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("NaN\n1.5\n-Infinity\n1e400\n")
    good, rejected = await read(path, float)
    assert good == [1.5] and [place for place, _ in rejected] == [f"{path}:{line}" for line in (1, 3, 4)]
    good, rejected = await read(path)
    assert good == [] and len(rejected) == 4


words = st.sampled_from(["NaN", "Infinity", "1e999", "-", ",", "]", '"', "\\", "e", "0e123", " ", "é", "I", "N"])
values = st.recursive(
    st.floats() | st.integers() | st.none() | st.lists(words).map("".join),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.lists(words, max_size=3).map("".join), inner),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    objects=st.lists(st.dictionaries(st.just("a"), values, min_size=1), max_size=5),
    kind=st.sampled_from(KINDS),
    escaped=st.booleans(),
)
async def test_exactly_the_lines_with_such_numbers_are_rejected(
    tmp_path: Path, *, objects: list[dict[str, Any]], kind: Any, escaped: bool
) -> None:
    path = tmp_path / "x"
    path.write_text("".join(json.dumps(each, ensure_ascii=escaped) + "\n" for each in objects), encoding="utf-8")
    good, rejected = await read(path, kind)
    expected = [each for each in objects if is_finite(each)]
    assert [each if kind is dict else {"a": each.a} for each in good] == expected
    assert len(rejected) == len(objects) - len(expected)


def is_finite(value: Any) -> bool:
    """By the writer of the standard library, which has a word of its own about it."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("policy", ["dead_letter", "stop"])
def test_it_is_told_and_judged_by_the_error_policy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    path, out = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    path.write_text('{"a":1}\n{"a":NaN}\n{"a":3}\n')
    pipeline = Pipeline.from_yaml(
        f"""
pipeline: copy
components:
  source: {{use: files.ReadJsonLines, with: {{path: {path}}}, on_error: {policy}}}
  sink: {{use: files.WriteJsonLines, from: source, with: {{path: {out}}}}}
"""
    )
    if policy == "stop":
        with pytest.raises(PipelineError, match="NaN is no JSON, at column 6") as raised:
            pipeline.run()
        assert raised.value.exit_code == 1 and f"{path}:2" in str(raised.value)
        return
    assert pipeline.run().dead_letters == 1
    assert out.read_text() == '{"a":1}\n{"a":3}\n'
    assert f"{path}:2: component 'source', port 'out'" in caplog.text and "NaN is no JSON, at column 6" in caplog.text


class Finite(BaseModel):
    b: FiniteFloat


async def test_a_cell_is_nan_where_the_type_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("b\nnan\n-inf\n1e999\n1\n")
    found: dict[Any, list[Any]] = {}
    for kind in (Plain, Finite, dict):
        source: Any = ReadCsv(path=str(path), payload=kind)
        await source.open()
        found[kind] = [each async for each in source.read(None)]
        await source.close()
    assert repr([each.b for batch in found[Plain] for each in batch.payloads]) == "[nan, -inf, inf, 1.0]"
    assert [each.b for batch in found[Finite] for each in batch.payloads] == [1]
    assert [each.place for batch in found[Finite] for each in batch.rejected] == [f"{path}:{n}" for n in (2, 3, 4)]
    assert [each["b"] for batch in found[dict] for each in batch.payloads] == ["nan", "-inf", "1e999", "1"]


async def test_writers_have_null_where_json_has_no_number(tmp_path: Path) -> None:
    payload = {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": Plain(math.nan)}
    for sink, expected in (
        (WriteJsonLines(path=str(tmp_path / "x")), '{"a":null,"b":[null,{"c":null}],"d":{"a":null,"b":0}}\n'),
        (WriteCsv(path=str(tmp_path / "x")), 'a,b,d\nnan,"[null,{""c"":null}]","{""a"":null,""b"":0}"\n'),
    ):
        await sink.open()
        await sink.write([payload])
        await sink.finish()
        await sink.close()
        assert (tmp_path / "x").read_text() == expected
