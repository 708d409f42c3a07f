"""Text that no database takes, and numbers that JSON has not: whose fault it is, and that what can be kept comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from autocoder import Batch, Keyed, Pipeline, Sink, Source, Statement, Transformer
from autocoder.codec import Codec, PayloadError
from autocoder.database import Database
from autocoder.declaration import ChannelOptions
from autocoder.errors import AutocoderError, PipelineError, describe
from tests.store.jobs import every_letter
from tests.support import Collect

pytestmark = pytest.mark.anyio
HALF, NULL = "caf\udce9", "a\x00b"


class Words(Source[str]):
    """Some words."""

    words: list[str]

    def read(self, resume: int | None, /) -> Iterator[Batch[str]]:
        for at in range(resume or 0, len(self.words)):
            yield Batch([self.words[at]], resume=at + 1)


def words(*given: str) -> Words:
    source = Words(words=[])  # where pydantic would refuse some of them
    source.words = list(given)
    return source


async def run(database: Database, *components: Any, given: Sequence[str]) -> None:
    pipeline = Pipeline("words")
    at = pipeline.add("words", words(*given))
    for number, each in enumerate(components):
        at = pipeline.add(f"c{number}", each, after=at)
    await pipeline.run_async(database=database.options)


class Refuse(Transformer[str, str]):
    """Fails, and quotes what it was given."""

    def process(self, word: str, /) -> str:
        raise ValueError(f"cannot read {word}")


async def test_an_error_that_quotes_what_no_database_takes_is_a_dead_letter(database: Database) -> None:
    await run(database, Refuse(), Collect(), given=[HALF, NULL])
    assert [each.error for each in await every_letter(database)] == [
        r"ValueError: cannot read caf\udce9",
        r"ValueError: cannot read a\x00b",
    ]


class MuteError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_that_cannot_say_what_it_is_is_told_by_its_type() -> None:
    assert describe(MuteError()) == "MuteError"


class Table(Sink[str]):
    """Rows of the pipeline's database."""

    def statements(self, batch: Sequence[str], /) -> Sequence[Statement]:
        table = sa.table("words", sa.column("word", sa.Text()), sa.column("at", sa.DateTime()))
        rows = [{"word": each, "at": each if each == "never" else None} for each in batch]
        return [
            Statement(sa.text("CREATE TABLE IF NOT EXISTS words (word TEXT, at TIMESTAMP)")),
            Statement(sa.insert(table), rows),
        ]


@pytest.mark.parametrize("odd", [HALF, "never"], ids=["half a surrogate pair", "no moment"])
async def test_a_value_that_comes_to_no_driver_is_the_fault_of_its_message(database: Database, odd: str) -> None:
    await run(database, Table(), given=["one", odd, "two"])
    (letter,) = await every_letter(database)
    assert letter.component == "c0"
    async with database.reading() as connection:
        found = (await connection.execute(sa.text("SELECT word FROM words"))).scalars().all()
    assert found == ["one", "two"]


class Count(Transformer[str, str]):
    """How often a word came."""

    times = Keyed(int, default=0)

    def key(self, word: str, /) -> str:
        return word if word != "number" else 7  # type: ignore[return-value]

    def process(self, word: str, /) -> str:
        self.times.value += 1
        return f"{word} {self.times.value}"


async def test_a_key_that_cannot_be_stored_is_the_fault_of_its_message(database: Database) -> None:
    collect = Collect()
    await run(database, Count(), collect, given=["é\n", HALF, NULL, "number", "é\n"])
    assert collect.got == ["é\n 1", "é\n 2"]
    assert [each.error for each in await every_letter(database)] == [
        "ValueError: a key is Unicode text without null characters",
        "ValueError: a key is Unicode text without null characters",
        "TypeError: a key is a str; found int",
    ]


@dataclass(frozen=True)
class Named:
    """A payload with the field by which its channel orders."""

    key: str


class Name(Transformer[str, Named]):
    """A word as a name."""

    def process(self, word: str, /) -> Named:
        return Named(word)


async def test_a_channel_orders_by_any_text(database: Database) -> None:
    pipeline, collect = Pipeline("words"), Collect()
    names = pipeline.add("names", Name(), after=pipeline.add("words", words("one", NULL)))
    pipeline.add("collect", collect, after=names, channel=ChannelOptions(durable=True, key="key"))
    await pipeline.run_async(database=database.options)
    assert collect.got == [Named("one"), Named(NULL)]


class Keep(Transformer[str, str]):
    """Keeps something of each word."""

    kept = Keyed(Any, default=None)

    def key(self, word: str, /) -> str:
        return "all"

    def process(self, word: str, /) -> str:
        self.kept.value = {"half": HALF, "infinite": inf}.get(word, word)
        return word


@pytest.mark.parametrize("word", ["half", "infinite"])
async def test_state_that_cannot_be_stored_is_told_with_its_place(database: Database, word: str) -> None:
    with pytest.raises(AutocoderError) as caught:
        await run(database, Keep(), Collect(), given=[word])
    assert "component 'c0', state 'kept', key 'all': the value cannot be encoded" in str(caught.value)


# -- numbers that JSON has not ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A number, or none."""

    value: float | None
    note: Any = None


class Model(BaseModel):
    """A model, whose own configuration counts."""

    value: float | None


class Wordy(BaseModel):
    """One that says numbers in words by itself."""

    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float
    note: str | None = None


@pytest.mark.parametrize(
    ("hint", "payload"),
    [
        (float, inf),
        (list[float], [1.0, -inf]),
        (dict[str, float | None], {"a": inf, "b": None}),
        (Measured, Measured(-inf)),
        (Wordy, Wordy(value=inf)),
        (Any, {"note": None, "text": "null", "value": 1.5}),
    ],
)
def test_a_number_that_comes_back_as_it_was_is_kept(hint: Any, payload: Any) -> None:
    codec = Codec(hint)
    assert codec.decode(codec.encode(payload)) == payload
    assert [codec.decode(each) for each in codec.encode_all([payload, payload])] == [payload, payload]


def test_no_number_comes_back_as_none() -> None:
    codec = Codec(Measured)
    assert isnan(codec.decode(codec.encode(Measured(nan))).value)


@pytest.mark.parametrize(
    ("hint", "payload"),
    [(Any, nan), (Any, {"a": [1, (inf,)]}), (Model, Model(value=inf)), (Measured, Measured(None, {nan}))],
)
@pytest.mark.parametrize("encode", [Codec.encode, lambda codec, payload: codec.encode_all([None, payload])])
def test_a_number_that_would_come_back_as_none_is_refused(
    hint: Any, payload: Any, encode: Callable[[Codec, Any], Any]
) -> None:
    with pytest.raises(PayloadError, match="NaN or infinity"):
        encode(Codec(hint), payload)


class Least(Transformer[str, float]):
    """The least number so far."""

    least = Keyed(float, default=inf)

    def key(self, word: str, /) -> str:
        return "all"

    def process(self, word: str, /) -> float:
        before, self.least.value = self.least.value, float(word)
        return before


async def test_state_is_what_it_was_in_the_next_run(database: Database) -> None:
    collect = Collect()
    await run(database, Least(), collect, given=["inf"])
    await run(database, Least(), collect, given=["inf", "7"])
    assert collect.got == [inf, inf]


class Endless(Source[int]):
    """Says that it resumes at the end of time."""

    def read(self, resume: float | None, /) -> Iterator[Batch[int]]:
        yield Batch([1], resume=inf)


async def test_a_position_that_cannot_be_kept_is_told_with_its_source(database: Database) -> None:
    pipeline = Pipeline("endless")
    pipeline.add("collect", Collect(), after=pipeline.add("endless", Endless()))
    with pytest.raises(PipelineError, match="component 'endless': read failed: it says that it resumes at"):
        await pipeline.run_async(database=database.options)
