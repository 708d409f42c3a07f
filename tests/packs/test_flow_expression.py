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
    assert Expression("name == 'Ada' && age + 1 == 37").test(payload)
    assert Expression("size(name)")(payload) == 3


def test_payload_is_the_whole_even_where_a_field_has_that_name() -> None:
    assert Expression("payload > 3")(4) is True
    assert Expression("payload.startsWith('a')")("abc") is True
    assert Expression("payload['strange name'] + payload.payload")({"strange name": 1, "payload": 2}) == 3
    assert Expression("has(payload.email)")({}) is False


def test_nested_values_are_read_whatever_their_class() -> None:
    person = Person("Ada", 36, Address("London"))
    assert Expression("address.city == 'London' && colour == 'red'").test(person)
    assert Expression("payload.address.city")(person) == "London"
    assert Expression("id == '00000000-0000-0000-0000-000000000001'").test({"id": uuid.UUID(int=1)})
    assert Expression("price > 1.0 && 'x' in tags").test({"price": decimal.Decimal("1.5"), "tags": {"x"}})
    assert Expression("day < '2024-02-01'").test({"day": datetime.date(2024, 1, 31)})
    moment = datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC)
    assert Expression("at < timestamp('2024-02-01T00:00:00Z')").test({"at": moment})


def test_a_bare_name_gives_the_field_as_it_is() -> None:
    price = decimal.Decimal("1.10")
    assert Expression(" price ")({"price": price}) is price
    assert Expression("payload")(price) is price
    assert Expression("true")({}) is True


def test_null_is_a_value_and_not_a_missing_field() -> None:
    assert Expression("email == null").test({"email": None})


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
        Expression("a + 1").test({"a": 1})


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
