"""Route: each payload to the output whose condition it meets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import Field
from typing_extensions import TypeVar

from autocoder import Condition, Emission, Out, Splitter

T = TypeVar("T")

_PORT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def check_port_names(names: Iterable[str], what: str) -> None:
    """Refuse names that `from:` could not refer to; raises ValueError."""
    for name in names:
        if not _PORT_NAME.fullmatch(name):
            raise ValueError(f"{what} {name!r} is no port name; use letters, digits, _ and -, beginning with a letter")


class Route(Splitter[T]):
    """Send each payload to the first output whose condition is true, or with `every` to all of them.

    Conditions are tried in the order in which they are written. A payload that meets none goes to `otherwise`; where
    that is not given it is dropped.

    ```yaml
    pipeline: triage
    components:
      tickets: {use: flow.Generate, with: {count: 20, value: "{'priority': i % 10}"}}
      triage:
        use: flow.Route
        from: tickets
        with: {routes: {urgent: priority > 7, normal: priority > 2}, otherwise: later}
      page: {use: flow.Discard, from: triage.urgent}
      archive: {use: flow.Discard, from: [triage.normal, triage.later]}
    ```
    """

    routes: dict[str, Condition] = Field(min_length=1, description="for each output, by its name, a CEL condition")
    every: bool = Field(default=False, description="send a payload to every output whose condition it meets")
    otherwise: str | None = Field(default=None, description="name of the output for payloads that meet no condition")

    def check(self) -> None:
        check_port_names(self.routes, "the output")
        if self.otherwise is not None:
            check_port_names((self.otherwise,), "otherwise:")
        if self.otherwise in self.routes:
            raise ValueError(f"otherwise: {self.otherwise!r} has a condition in routes already; take another name")

    def outputs(self) -> Mapping[str, Out[Any]]:
        names = [*self.routes] if self.otherwise is None else [*self.routes, self.otherwise]
        return {name: Out(T, name=name) for name in names}  # type: ignore[misc]  # resolved when compiled

    def process(self, payload: T, /) -> Iterable[Emission]:
        met = [Emission(name, payload) for name in self._met(payload)]
        if not met and self.otherwise is not None:
            return (Emission(self.otherwise, payload),)
        return met

    def _met(self, payload: T) -> Iterable[str]:
        for name, condition in self.routes.items():
            if condition.test(payload):
                yield name
                if not self.every:
                    return
