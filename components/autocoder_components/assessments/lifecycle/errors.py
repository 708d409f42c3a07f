"""What the store refuses, each kind with a type of its own; messages name the assessment, what was found, and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from autocoder import AutocoderError, UsageError


class AssessmentError(AutocoderError):
    """An operation on an assessment was refused; nothing was changed."""


class AssessmentNotFoundError(AssessmentError):
    """There is no assessment of that id."""

    def __init__(self, assessment_id: str) -> None:
        super().__init__(
            f"there is no assessment {assessment_id!r}; `autocoder assessments list` shows those there are"
        )
        self.assessment_id = assessment_id


class IllegalTransitionError(AssessmentError):
    """The lifecycle has no way from the state that was found to the one that was asked for."""

    def __init__(self, assessment_id: str, found: str, asked: str, version: int, cure: str) -> None:
        super().__init__(
            f"assessment {assessment_id!r} is {found} (version {version}) and cannot become {asked}; {cure}"
        )
        self.assessment_id, self.found, self.asked, self.version = assessment_id, found, asked, version


class LateResultError(IllegalTransitionError):
    """A result came when nobody waited for it any more: it is noted in the audit trail and dropped."""


class StaleVersionError(AssessmentError):
    """Somebody else changed the assessment since it was read."""

    def __init__(self, assessment_id: str, expected: int, found: int) -> None:
        super().__init__(
            f"assessment {assessment_id!r} has version {found}, not {expected}: somebody else changed it; read it again, "
            f"and decide again"
        )
        self.assessment_id, self.expected, self.found = assessment_id, expected, found


class RetriesExhaustedError(AssessmentError):
    """A failed assessment has no attempts left."""


class ConflictingRequestError(UsageError):
    """The id is taken by an assessment of another request."""

    found: ClassVar = "is there already, with another request"

    def __init__(self, assessment_id: str) -> None:
        super().__init__(f"id: the assessment {assessment_id!r} {self.found}; give another id, or leave it out")
        self.assessment_id = assessment_id
        self.fields: Sequence[str] = ("id",)


class DeletedAssessmentError(ConflictingRequestError):
    """The id is that of an assessment which was deleted, and whose audit trail is kept: an id names one assessment for ever.

    With two of them, what was under way of the first would be taken for what came of the second.
    """

    found = "was there and is deleted"


class InvalidArgumentError(UsageError, ValueError):
    """An argument of an operation that cannot be; the message begins with its name. Nothing was changed."""


class InvalidRequestError(UsageError):
    """A request that cannot be stored; `fields` names what is wrong with it, by field. Nothing of it was stored."""

    def __init__(self, message: str, fields: Sequence[str]) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


class WaitTimeoutError(AssessmentError):
    """The assessment did not end in the time that the caller would wait; it goes on."""

    def __init__(self, assessment_id: str, state: str, seconds: float) -> None:
        super().__init__(
            f"assessment {assessment_id!r} is still {state} after {round(seconds, 3):g} s; it goes on, wait again or look with "
            f"`autocoder assessments show {assessment_id}`"
        )
        self.assessment_id, self.state, self.seconds = assessment_id, state, seconds
