"""A component for pipelines of the tests that cannot handle some of its messages."""

from __future__ import annotations

from autocoder_components.assessments.model import Request

from autocoder import Transformer


class Breaks(Transformer[Request, Request]):
    """Pass requests on, except those whose ids begin with `broken`."""

    def process(self, request: Request, /) -> Request:
        if request.assessment_id.startswith("broken"):
            raise RuntimeError("this one breaks it")
        return request
