"""Join: payloads of two inputs that have the same key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from autocoder import Expression, In, Keyed, Merger
from autocoder_components.flow.canonical import key_text, plain_data
from autocoder_components.flow.routing import check_port_names


@dataclass(frozen=True)
class Sides:
    """The payloads of one key, by input. Frozen, so that state costs no copy for each message."""

    left: tuple[Any, ...] = ()
    right: tuple[Any, ...] = ()


class Join(Merger[dict[str, Any]]):
    """Emit a dict `{left: payload, right: payload}` for each two payloads of equal key, one from each input.

    The first of the two inputs is the left one. A pair is emitted as soon as its second half arrives, whichever that
    is. What found no partner is emitted when both inputs have ended, with null in the partner's place: left payloads
    with `how: left`, those of both sides with `how: outer`. A key that is null equals no other, as in SQL, and what has
    it is emitted at once or dropped.

    Both inputs are kept, across restarts too, so that a later run joins what arrives with what was there; only what was
    emitted without a partner is forgotten. Payloads are emitted as plain data (dicts, lists, strings, numbers).

    ```yaml
    pipeline: orders-with-customers
    components:
      orders: {use: flow.Generate, with: {count: 6, value: "{'order': i, 'customer': i % 3}"}}
      customers: {use: flow.Generate, with: {count: 3, value: "{'id': i, 'name': 'customer ' + string(i)}"}}
      joined:
        use: flow.Join
        from: {order: orders, customer: customers}
        with: {inputs: {order: customer, customer: id}, how: left}
      done: {use: flow.Discard, from: joined}
    ```
    """

    keys: dict[str, Expression] = Field(
        alias="inputs",
        description="the names of the two inputs, left one first, each with the CEL expression of its key",
    )
    how: Literal["inner", "left", "outer"] = Field(
        default="inner", description="what to emit without a partner: nothing, left payloads, or those of both inputs"
    )

    sides: Keyed[Sides] = Keyed(Sides, default=Sides())

    def check(self) -> None:
        check_port_names(self.keys, "the input")
        if len(self.keys) != 2:
            raise ValueError(f"inputs: a join has two inputs, found {len(self.keys)}; join a third with a second Join")
        self._left, self._right = self.keys

    def inputs(self) -> Mapping[str, In[Any]]:
        return {name: In(Any, name=name) for name in self.keys}

    def key(self, port: str, payload: Any, /) -> str:
        """The value of the input's expression as text; that of null is empty, and such a payload has no partner."""
        value = self.keys[port](payload)
        return "" if value is None else key_text(value)

    def on_message(self, port: str, payload: Any, /) -> Iterable[dict[str, Any]]:
        plain = plain_data(payload)
        is_left = port == self._left
        if not self.sides.key:
            return [self._alone(plain, is_left)] if self._is_kept_alone(is_left) else ()
        sides = self.sides.value
        if is_left:
            self.sides.value = replace(sides, left=(*sides.left, plain))
            return [{self._left: plain, self._right: other} for other in sides.right]
        self.sides.value = replace(sides, right=(*sides.right, plain))
        return [{self._left: other, self._right: plain} for other in sides.left]

    def finish(self) -> Iterable[dict[str, Any]]:
        if self.how == "inner":
            return
        for key in sorted(self.sides.keys()):
            self.sides.key = key
            sides = self.sides.value
            if sides.left and not sides.right:
                self.sides.clear()
                for payload in sides.left:
                    yield self._alone(payload, is_left=True)
            elif sides.right and not sides.left and self.how == "outer":
                self.sides.clear()
                for payload in sides.right:
                    yield self._alone(payload, is_left=False)

    def _is_kept_alone(self, is_left: bool) -> bool:
        return self.how == "outer" or (self.how == "left" and is_left)

    def _alone(self, payload: Any, is_left: bool) -> dict[str, Any]:
        return {self._left: payload, self._right: None} if is_left else {self._left: None, self._right: payload}
