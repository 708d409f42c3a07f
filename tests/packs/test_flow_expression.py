"""Expressions: checked when configured, cheap to evaluate, and silent about what payloads hold."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import logging
import pickle
import subprocess
import sys
import uuid
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
from autocoder_components.flow import Expression, ExpressionError, Filter
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from autocoder import Condition, ConfigurationError, Pipeline


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Address:
    city: str


@dataclass(frozen=True)
class Person:
    name: str
    age: int
    address: Address
    colour: Colour = Colour.RED


class Model(BaseModel):
    name: str
    age: int


Pair = namedtuple("Pair", "name age")


@pytest.mark.parametrize(
    "payload",
    [{"name": "Ada", "age": 36}, Model(name="Ada", age=36), Pair("Ada", 36), Person("Ada", 36, Address("London"))],
    ids=["dict", "pydantic", "named tuple", "dataclass"],
)
def test_the_fields_of_every_kind_of_payload_are_variables(payload: Any) -> None:
    assert Condition("name == 'Ada' && age + 1 == 37").test(payload)
    assert Expression("size(name)")(payload) == 3


def test_payload_is_the_whole_even_where_a_field_has_that_name() -> None:
    assert Expression("payload > 3")(4) is True
    assert Expression("payload.startsWith('a')")("abc") is True
    assert Expression("payload['strange name'] + payload.payload")({"strange name": 1, "payload": 2}) == 3
    assert Expression("has(payload.email)")({}) is False


def test_nested_values_are_read_whatever_their_class() -> None:
    person = Person("Ada", 36, Address("London"))
    assert Condition("address.city == 'London' && colour == 'red'").test(person)
    assert Expression("payload.address.city")(person) == "London"
    assert Condition("id == '00000000-0000-0000-0000-000000000001'").test({"id": uuid.UUID(int=1)})
    assert Condition("price > 1.0 && 'x' in tags").test({"price": decimal.Decimal("1.5"), "tags": {"x"}})
    assert Condition("day < '2024-02-01'").test({"day": datetime.date(2024, 1, 31)})
    moment = datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC)
    assert Condition("at < timestamp('2024-02-01T00:00:00Z')").test({"at": moment})


def test_a_bare_name_gives_the_field_as_it_is() -> None:
    price = decimal.Decimal("1.10")
    assert Expression(" price ")({"price": price}) is price
    assert Expression("payload")(price) is price
    assert Expression("true")({}) is True


def test_null_is_a_value_and_not_a_missing_field() -> None:
    assert Condition("email == null").test({"email": None})


def test_extension_functions_are_at_hand() -> None:
    assert Expression("name.lowerAscii()")({"name": "ADA"}) == "ada"
    assert Expression("math.greatest(a, 3)")({"a": 1}) == 3
    assert Expression("tags.split(',').map(t, t.trim())")({"tags": "a, b"}) == ["a", "b"]
    assert Expression("[1, 2].exists(x, x > n)")({"n": 1}) is True


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("amount >", "line 1, column 9: found the end of the expression, expected a value, a field or '('"),
        ("a b", "line 1, column 3: found 'b', expected an operator or the end of the expression"),
        ("1 +\n ]", "line 2, column 2"),
        ("'open", "line 1, column 1"),
        ("", "the expression is empty"),
        ("lowerAsci(name)", "'lowerAsci', which does not exist; did you mean 'lowerAscii'?"),
    ],
)
def test_a_broken_expression_is_refused_with_its_place(source: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        Expression(source)
    assert said in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        Filter(where=source)  # type: ignore[arg-type]  # what YAML gives
    assert said in str(refused.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab1 .+-*/%<>=!&|?:()[]{}'\"\\,\n_é@", max_size=20))
def test_any_text_is_either_an_expression_or_a_value_error(source: str) -> None:
    try:
        expression = Expression(source)
    except ValueError:
        return
    with contextlib.suppress(ExpressionError):
        expression({"a": 1})


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("source", "payload", "said"),
    [
        (
            "amuont > 1",
            {"amount": SECRET, "b": 1},
            "'amuont', which the payload does not have; its fields are amount, b",
        ),
        ("a > 1", {"a": SECRET}, "a is str"),
        ("a + b", {"a": SECRET, "b": 1}, "string + int"),
        ("size(a) > 1", {"a": None, "b": SECRET}, "there is no function 'size' for what it is given (a is null)"),
        ("a.startsWith('x')", {"a": 12}, "there is no function 'startsWith' for what it is given (a is int)"),
        ("a.b > 1", {"a": {SECRET: 1}}, "there is no key 'b'"),
        ("a[b]", {"a": {}, "b": SECRET}, "a key is missing"),
        ("a[5]", {"a": [SECRET]}, "beyond the end of a list"),
        ("int(a)", {"a": SECRET}, "function 'int' refused its argument"),
        ("timestamp(a)", {"a": SECRET}, "function 'timestamp' refused its argument"),
        ("base64.decode(a)", {"a": SECRET}, "refused its argument"),
        ("a / 0", {"a": 1}, "division by zero"),
        ("a == 'x'", {"a": SecretStr(SECRET)}, "expressions know no SecretStr"),
        ("name == 'x'", SECRET, "the payload is str and has no fields"),
        ("missing", {"a": SECRET}, "its fields are a"),
    ],
)
def test_a_failure_names_expression_and_fields_but_no_value(
    source: str, payload: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ExpressionError) as caught:
        Expression(source)(payload)
    assert said in str(caught.value)
    assert repr(source) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
    assert caught.value.__cause__ is None


def test_a_condition_must_give_true_or_false() -> None:
    with pytest.raises(ExpressionError, match="gives int, but a condition must give true or false"):
        Condition("a").test({"a": 1})


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("12", "int"),
        ("'a'", "str"),
        ("null", "null"),
        ("[1, 2]", "list"),
        ("[a]", "a list"),
        ("({'k': a > 1})", "a map"),
        ("1 + 2", "int"),
        ("a + 1", "the result of a calculation"),
        ("(a) - (b > 1 ? 1 : 2)", "the result of a calculation"),
        ("-a", "the result of a calculation"),
        ("true ? 'x' : a", "str"),
        ("1 / 0 == 1", "no value"),
        ("math.greatest(1, 2)", "int"),
    ],
)
def test_what_can_be_no_condition_is_refused_when_configured(source: str, given: str) -> None:
    with pytest.raises(ValueError) as caught:
        Condition(source)
    assert f"{source!r} gives {given}" in str(caught.value)
    assert "write" in str(caught.value) or "compare it, as in: amount > 100.0" in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        *(
            "true",
            "a",
            "int",
            "!(a)",
            "a + 1 > 2",
            "a in [1]",
            "-1 < a",
            "1e-5 < a",
            "a ? b : c",
            "a.b",
            "[a][0]",
            "f.a",
        ),
        *("(a + 1) > (b + 1)", "a.exists(x, x + 1 > 1)", "{'k': a}['k']", "has(payload.x)", "a || b", "'+' == a"),
    ],
)
def test_what_may_be_a_condition_is_accepted(source: str) -> None:
    assert Condition(source).source == source


PROBES = st.recursive(
    st.sampled_from(["a", "1", "'t'", "true", "a > 1", "'{' == a", "!b", "[b]", "{'k': b}"]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("{} && {}".format, inner, inner),
        st.builds("{} + {}".format, inner, inner),
        st.builds("{} ? {} : {}".format, inner, inner, inner),
        st.builds("{} == {}".format, inner, inner),
        st.builds("[{}][0]".format, inner),
    ),
    max_leaves=6,
)


@given(PROBES, st.integers(0, 3), st.booleans())
def test_no_condition_is_refused_that_some_payload_meets(source: str, a: int, b: bool) -> None:
    try:
        value = Expression(source)({"a": a, "b": b})
    except (ExpressionError, ValueError):
        return
    if isinstance(value, bool):
        Condition(source)


def test_a_map_has_its_keys_in_the_order_in_which_they_are_written() -> None:
    letters = [chr(ord("a") + number) for number in range(20)]
    source = "{" + ", ".join(
        f"'{letter}': n ? {{'z': 1, 'y': [{{'q': 1, \"p:'\": 2}}]}} : {{}}" for letter in letters[::-1]
    )
    value = Expression(source + "}")({"n": True})
    assert list(value) == letters[::-1]
    assert all(list(each) == ["z", "y"] and list(each["y"][0]) == ["q", "p:'"] for each in value.values())
    assert list(Expression("[1].map(i, {'b': i, 'a': {2: i, 1: i}})")({})[0]["a"]) == [2, 1]


def test_a_map_of_the_payload_keeps_its_order_and_computed_keys_are_sorted() -> None:
    payload = {"order": {"number": 1, "customer": {"name": "x", "city": "y", "age": 1}}}
    value = Expression("{'whole': payload, 'copy': [order]}")(payload)
    assert str(value) == str({"whole": payload, "copy": [payload["order"]]})
    assert list(Expression("{b: 1, a: 2, 'c': 3}")({"a": "x", "b": "y"})) == ["c", "x", "y"]
    person = Person("Ada", 36, Address("London"))
    assert list(Expression("{'p': payload}")(person)["p"]) == ["name", "age", "address", "colour"]


def test_a_pipeline_with_a_condition_that_is_none_is_refused_with_its_place() -> None:
    text = """
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 3}}
  some: {use: flow.Filter, from: numbers, with: {where: 12}}
  two: {use: flow.Route, from: some, with: {routes: {large: payload + 1, small: payload < 2}}}
  done: {use: flow.Discard, from: [two.large, two.small]}
"""
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(text).compile()
    first, second = map(str, caught.value.problems)
    assert ":5:57: some: where: '12' gives int, but a condition must give true or false; compare it" in first
    assert ":6:" in second and "routes.large: 'payload + 1' gives the result of a calculation" in second


def test_yaml_values_are_expressions_too() -> None:
    adapter = TypeAdapter(Expression)
    assert adapter.validate_python(True)({}) is True
    assert adapter.validate_python(2.5)({}) == 2.5
    with pytest.raises(ValidationError, match="an expression is text, found list"):
        adapter.validate_python([1])


def test_an_expression_travels_to_another_process() -> None:
    copied = pickle.loads(pickle.dumps(Expression("a + 1")))
    assert copied == Expression("a + 1")
    assert copied({"a": 1}) == 2


def test_without_the_extra_the_cure_is_named() -> None:
    code = (
        "import sys; sys.modules['cel'] = None\n"
        "from autocoder_components.flow import Filter\n"
        "try: Filter(where='a')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'autocoder[cel]'" in done.stdout


def test_the_library_is_not_imported_before_an_expression_is_made() -> None:
    code = "import sys, autocoder_components.flow; print('cel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
