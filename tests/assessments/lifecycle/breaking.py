"""A component for pipelines of the tests that cannot handle some of its messages."""

from __future__ import annotations

from autocoder_components.assessments.model import Check, Outcome, Request

from autocoder import Transformer


class Breaks(Transformer[Request, Request]):
    """Pass requests on, except those whose ids begin with `broken`."""

    def process(self, request: Request, /) -> Request:
        if request.assessment_id.startswith("broken"):
            raise RuntimeError("this one breaks it")
        return request


class Waits(Transformer[Check, Outcome]):
    """A check that has no outcome yet, however often it is tried."""

    def process(self, check: Check, /) -> Outcome:
        raise RuntimeError("not yet")
