"""What becomes of a message that failed: another attempt, a dead letter, a drop, or the end of the run."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from autocoder.declaration import RetryPolicy
from autocoder.errors import AutocoderError, PipelineError, describe
from autocoder.graph import Node
from autocoder.masking import Redactor
from autocoder.message import Rejected, Traced

# Dead letters of one component that are logged one by one; a million lines would help nobody.
MOST_TOLD: Final = 100
logger: Final = logging.getLogger("autocoder.pipeline")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a component could not handle, as it stood at that component's input port."""

    component: str
    port: str
    payload: Any
    error: str
    error_type: str
    attempts: int
    place: str | None = None


class Failures:
    """The error policies of one run; counts go to the units, dead letters to `on_dead_letter`."""

    def __init__(self, pipeline: str, redactor: Redactor, on_dead_letter: Callable[[DeadLetter], None]) -> None:
        self.pipeline = pipeline
        self.redactor = redactor
        self._on_dead_letter = on_dead_letter
        self._told: Counter[str] = Counter()
        self._random = random.Random()  # noqa: S311  jitter is no secret

    def delay(self, node: Node, error: BaseException, attempt: int) -> float | None:
        """Seconds until the next attempt after the `attempt`th failed, or None when there is none."""
        retry = node.on_error.retry
        if attempt >= retry.attempts or not is_retryable(retry, error):
            return None
        return self._random.uniform(0, min(retry.cap, retry.backoff * 2.0 ** min(attempt - 1, 1000)))

    def settle(self, node: Node, port: str, item: Any, error: BaseException, attempts: int) -> str:
        """Apply the last step of a node's policy; returns `dead_letter` or `drop`, or raises PipelineError to stop."""
        payload = item.payload if type(item) is Traced else item
        place = None
        if isinstance(payload, Rejected):
            payload, place = payload.raw, payload.place
        if node.on_error.then == "stop":
            raise self.stopped(node, port, payload, error, place=place) from error
        if node.on_error.then == "dead_letter":
            self.tell(node, port, payload, error, attempts, place)
        return node.on_error.then

    def tell(
        self, node: Node, port: str, payload: Any, error: BaseException, attempts: int, place: str | None = None
    ) -> None:
        """Say of a message that it is a dead letter now, whatever the policy: none may become one in silence."""
        letter = DeadLetter(node.name, port, payload, describe(error), type(error).__name__, attempts, place)
        self._on_dead_letter(letter)
        self._told[node.name] += 1
        if self._told[node.name] == MOST_TOLD + 1:
            logger.warning("component %r: further dead letters are counted, and no longer listed here", node.name)
        if self._told[node.name] > MOST_TOLD:
            return
        logger.warning(
            "%s",
            self.redactor(
                f"{place + ': ' if place else ''}component {node.name!r}, port {port!r}: dead letter after "
                f"{attempts} attempt{'s' if attempts != 1 else ''}: {describe(error)}; "
                f"payload: {self.redactor.preview(payload)}"
            ),
        )

    def stopped(
        self,
        node: Node,
        port: str | None,
        payload: Any,
        error: BaseException,
        *,
        hook: str = "process",
        place: str | None = None,
    ) -> PipelineError:
        """The error that stops the pipeline, naming pipeline, component and port, with the payload masked."""
        said = self.redactor(f"{place}: {describe(error)}" if place else describe(error))
        shown = None if payload is NO_PAYLOAD else self.redactor.preview(payload)
        stopped = PipelineError(self.pipeline, node.name, hook, said, port=port, payload=shown)
        if isinstance(error, AutocoderError):  # what cannot be reached, say, is that for the whole run
            stopped.exit_code = error.exit_code
        return stopped


NO_PAYLOAD: Final = object()


def is_retryable(retry: RetryPolicy, error: BaseException) -> bool:
    """Whether an error is of a class that the policy tries again (any exception but `sys.exit`, where it names none)."""
    names = getattr(error, "class_names", None) or class_names(type(error))
    return any(name in names for name in retry.on or ["Exception", "CancelledError"])


def class_names(kind: type[BaseException]) -> tuple[str, ...]:
    """The names by which a policy may call an exception class: short and dotted, its base classes too."""
    bases = [each for each in kind.__mro__ if each not in (object, BaseException)]
    return tuple(
        name
        for each in bases
        for name in (each.__name__, f"{each.__module__}.{each.__qualname__}", f"{each.__module__}:{each.__qualname__}")
    )
