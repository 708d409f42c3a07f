"""The payloads of the tickets pipeline, and the components that it has of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import Field

from autocoder import Emission, Out, Splitter, Transformer


@dataclass(frozen=True)
class Ticket:
    number: str
    topic: str
    priority: int
    text: str
    assignee: str = ""


class Parse(Transformer[str, Ticket]):
    """Read a ticket from a line: `number | topic | priority | text`."""

    def process(self, line: str, /) -> Ticket | None:
        if not line.strip():
            return None
        cells = [cell.strip() for cell in line.split("|", maxsplit=3)]
        if len(cells) != 4 or not cells[2].isdigit():
            raise ValueError("a ticket is written `number | topic | priority | text`")
        number, topic, priority, text = cells
        return Ticket(number, topic, int(priority), text)


class Assign(Transformer[Ticket, Ticket]):
    """Give each ticket to the person on duty for its topic."""

    roster: dict[str, str] = Field(description="the person on duty for each topic")
    otherwise: str = Field(description="the person on duty for every other topic")

    async def open(self) -> None:
        self._is_awake = False

    def process(self, ticket: Ticket, /) -> Ticket:
        if not self._is_awake:  # the example's stand-in for a service that fails now and then
            self._is_awake = True
            raise TimeoutError("the duty roster did not answer")
        return replace(ticket, assignee=self.roster.get(ticket.topic, self.otherwise))


class Triage(Splitter[Ticket]):
    """Send urgent tickets one way and the rest another."""

    urgent_from: int = Field(default=8, ge=0, le=10, description="the lowest priority that is urgent")

    urgent = Out(Ticket)
    normal = Out(Ticket)

    def process(self, ticket: Ticket, /) -> Emission:
        return (self.urgent if ticket.priority >= self.urgent_from else self.normal)(ticket)
