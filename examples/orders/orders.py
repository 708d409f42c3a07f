"""The payloads of the orders pipeline, and the component that it has of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autocoder import Keyed, Transformer


@dataclass(frozen=True)
class Order:
    number: int
    customer: str
    item: str
    pieces: int
    cents: int


@dataclass(frozen=True)
class Customer:
    id: str
    name: str
    city: str


@dataclass(frozen=True)
class Total:
    customer: str
    name: str
    orders: int
    cents: int


class RunningTotal(Transformer[dict[str, Any], Total]):
    """Add up the orders of each customer; takes pairs `{order, customer}` as flow.Join emits them."""

    orders = Keyed(int, default=0)
    cents = Keyed(int, default=0)

    def key(self, pair: dict[str, Any], /) -> str:
        return str(pair["order"]["customer"])

    def process(self, pair: dict[str, Any], /) -> Total:
        order, customer = pair["order"], pair["customer"]
        if customer is None:
            raise LookupError(f"order {order['number']} names the customer {order['customer']!r}, whom nobody knows")
        self.orders.value += 1
        self.cents.value += order["pieces"] * order["cents"]
        return Total(customer["id"], customer["name"], self.orders.value, self.cents.value)
