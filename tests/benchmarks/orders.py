"""The work of the durable benchmarks: orders read in batches, priced, written to a table; a durable hop in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa
from pydantic import BaseModel, TypeAdapter

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source, Statement, Transformer

BATCH = 1000
NOTE = "leave it with the neighbours if nobody opens, and ring twice; " * 2


class Order(BaseModel):
    """About 200 bytes as JSON."""

    number: int
    customer: str
    pieces: int
    note: str


class Priced(BaseModel):
    number: int
    customer: str
    total: int


ORDER = TypeAdapter(Order)
RESULTS = sa.Table(
    "results",
    sa.MetaData(),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
)
CREATE_RESULTS = "CREATE TABLE results (number BIGINT PRIMARY KEY, customer TEXT NOT NULL, total BIGINT NOT NULL)"


def orders(first: int, count: int, note: str = NOTE) -> list[Order]:
    return [
        Order(number=number, customer=f"customer-{number % 997}", pieces=number % 7 + 1, note=note)
        for number in range(first, first + count)
    ]


def price(order: Order) -> Priced:
    return Priced(number=order.number, customer=order.customer, total=order.pieces * 250)


class Orders(Source[Order]):
    """Makes orders, a batch at a time."""

    upto: int
    batch: int = BATCH
    note: str = NOTE

    def read(self, resume: int | None, /) -> Iterator[Batch[Order]]:
        for at in range(resume or 0, self.upto, self.batch):
            yield Batch(orders(at, self.batch, self.note), at + self.batch)


class Price(Transformer[Order, Priced]):
    """Prices an order."""

    def process(self, order: Order, /) -> Priced:
        return price(order)


class Results(Sink[Priced]):
    """Rows of the pipeline's own database; the table is made with the first of them."""

    made: bool = False

    def statements(self, batch: Sequence[Priced], /) -> Iterable[Statement]:
        if not self.made:
            self.made = True
            yield Statement(sa.text(CREATE_RESULTS))
        rows = [{"number": each.number, "customer": each.customer, "total": each.total} for each in batch]
        yield Statement(sa.insert(RESULTS), rows)


def pipeline(
    messages: int, *, batch: int = BATCH, note: str = NOTE, name: str = "bench", made: bool = False
) -> Pipeline:
    """Source, durable hop, transformer and sink; a commit for each batch, as in the twins.

    `made` says that the table of results is there.
    """
    built = Pipeline(name, messages=batch)
    outlet = built.add("orders", Orders(upto=messages, batch=batch, note=note))
    priced = built.add("price", Price(), after=outlet, channel=ChannelOptions(durable=True))
    built.add("results", Results(made=made), after=priced)
    return built


def run_pipeline(messages: int, url: str) -> None:
    """The pipeline on a database that is empty."""
    pipeline(messages).run(database=url)
