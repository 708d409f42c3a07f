"""The deep scan: what the tools of a server are, asked of the server itself, and whether they are still what they were."""

from autocoder_components.assessments.deep.component import InspectTools
from autocoder_components.assessments.deep.memory import RememberTools

__all__ = ["InspectTools", "RememberTools"]
