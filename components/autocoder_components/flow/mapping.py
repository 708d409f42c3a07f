"""Map: new payloads out of old ones, by expressions."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from autocoder import Expression, Transformer, field_names


class Map(Transformer[Any, Any]):
    """Turn each payload into a dict of `fields`, or into one `value`.

    An expression that is nothing but a field's name takes the field over as it is, of whatever type.

    ```yaml
    pipeline: totals
    components:
      lines: {use: flow.Generate, with: {count: 10, value: "{'price': double(i), 'pieces': 3}"}}
      totals:
        use: flow.Map
        from: lines
        with: {fields: {pieces: pieces, total: "price * double(pieces)"}}
      done: {use: flow.Discard, from: totals}
    ```
    """

    fields: dict[str, Expression] | None = Field(
        default=None, description="the new payload is a dict: for each name a CEL expression over the old one"
    )
    value: Expression | None = Field(default=None, description="the new payload is the value of this CEL expression")
    keep: bool = Field(
        default=False, description="with fields: take over the other fields of the payload too, as they are"
    )

    def check(self) -> None:
        if (self.fields is None) == (self.value is None):
            raise ValueError("give either fields (a dict of expressions) or value (one expression)")
        if self.fields is not None and not self.fields:
            raise ValueError("fields is empty, so every payload would be an empty dict; name at least one")
        if self.keep and self.fields is None:
            raise ValueError("keep goes with fields; leave it out")

    def process(self, payload: Any, /) -> Any:
        if self.value is not None:
            return self.value(payload)
        new = {name: expression(payload) for name, expression in (self.fields or {}).items()}
        return {**_as_dict(payload), **new} if self.keep else new


def _as_dict(payload: Any) -> dict[str, Any]:
    if isinstance(payload, dict):
        return payload
    names = field_names(payload)
    if not names:
        raise TypeError(f"keep: the payload is {type(payload).__name__}, which has no fields to take over")
    return {name: getattr(payload, name) for name in names}
