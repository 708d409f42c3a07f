"""What is wrong with the request itself, and would be read as a verdict if nobody said so."""

from __future__ import annotations

from autocoder_components.assessments.model import Finding, Place, Request, RuleInfo, Severity, Target
from autocoder_components.assessments.rules.base import Theme, found_at

REQUEST = "<request>"
"""Stands for a file where the place of a finding is the request."""
NAME_MATCHES_NOTHING = RuleInfo(
    "AC-001",
    "NameMatchesNothing",
    "A name that was asked for matches no server",
    Severity.INFO,
    None,
    "Whoever asks for servers by name wants to hear of them. That nothing was found may mean that the name is misspelt, or "
    "that the server is not configured any more; it says nothing of its safety.",
    "Correct the name, or leave it out",
)


def name_matches_nothing(request: Request, pattern: str, message: str) -> Finding:
    """The finding on a name (or glob) that no server of what was assessed has."""
    nothing = Target(request.assessment_id, REQUEST, "", "", "", "", "")
    return found_at(nothing, NAME_MATCHES_NOTHING, Place(REQUEST), message, distinct=pattern)


THEME = Theme((NAME_MATCHES_NOTHING,))
