"""What the router refuses because it cannot know, and what it takes for trouble of the store."""

from __future__ import annotations

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from autocoder import UnreachableError
from autocoder_components.assessments.lifecycle.errors import AssessmentError


class StoreAwayError(AssessmentError):
    """The store does not answer, and without it nobody knows whether it has this id; `__cause__` says what is wrong.

    Raised where the older system might otherwise do an assessment that the store has, too. Nothing was given to the older
    system. Try again with the same id; or, for an id that was made up for this one call, say `new_id=True`.
    """

    def __init__(self, assessment_id: str) -> None:
        super().__init__(
            f"the store does not answer, and may have assessment {assessment_id!r}: the older system was not asked, lest "
            f"both do it; try again with the same id"
        )
        self.assessment_id = assessment_id


class UnreadableAnswerError(AssessmentError):
    """What the older system says of an assessment is none; the message names what is wrong, and quotes nothing."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the answer of the older system is no assessment: {why}")


def is_trouble(error: BaseException) -> bool:
    """Whether the store failed, and not the request."""
    return isinstance(error, OSError | UnreachableError) or (
        isinstance(error, DBAPIError) and not isinstance(error, DataError | IntegrityError)
    )
