"""Assess the MCP servers that the configuration files of editors and agents name: are they valid, are they safe?"""

from autocoder_components.assessments.checking import CheckSecurity, DiscoverTargets, PlanChecks, ValidateConfig
from autocoder_components.assessments.controls.component import EvaluateControls
from autocoder_components.assessments.deep import InspectTools, RememberTools
from autocoder_components.assessments.joining import JoinOutcomes, ScoreFindings
from autocoder_components.assessments.lifecycle.components import (
    Claim,
    Inbox,
    RecordClaims,
    RecordVerdicts,
    RetryDue,
    StillWanted,
)
from autocoder_components.assessments.lifecycle.overdue import Overdue
from autocoder_components.assessments.lifecycle.progress import CountProgress, RecordProgress
from autocoder_components.assessments.probes import ProbeServer
from autocoder_components.assessments.requests import Requests
from autocoder_components.assessments.routing import RenderReport, RouteReports
from autocoder_components.assessments.sinks import PrintReport, SaveResults, WriteReports

__all__ = [
    "CheckSecurity",
    "Claim",
    "CountProgress",
    "DiscoverTargets",
    "EvaluateControls",
    "Inbox",
    "InspectTools",
    "JoinOutcomes",
    "Overdue",
    "PlanChecks",
    "PrintReport",
    "ProbeServer",
    "RecordClaims",
    "RecordProgress",
    "RecordVerdicts",
    "RememberTools",
    "RenderReport",
    "Requests",
    "RetryDue",
    "RouteReports",
    "SaveResults",
    "ScoreFindings",
    "StillWanted",
    "ValidateConfig",
    "WriteReports",
]
