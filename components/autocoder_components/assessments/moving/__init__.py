"""Moving from an older event system to the store, while both are running: who does which assessment, and how one goes back.

An application plugs its older system in (`LegacySystem`), asks for assessments through the `AssessmentRouter`, and changes
the flags of its environment (`assessments: moving:` in `config/`): nothing, some percent, all of them, and back with one flag.
"""

from autocoder_components.assessments.moving.decisions import Decision
from autocoder_components.assessments.moving.differences import Difference, differences
from autocoder_components.assessments.moving.errors import StoreAwayError, UnreadableAnswerError
from autocoder_components.assessments.moving.flags import Home, WatchedFlags, bucket, home_by
from autocoder_components.assessments.moving.legacy import CompletionBridge, LegacySystem, legacy_state
from autocoder_components.assessments.moving.router import AssessmentRouter
from autocoder_components.assessments.settings import MovingFlags

__all__ = [
    "AssessmentRouter",
    "CompletionBridge",
    "Decision",
    "Difference",
    "Home",
    "LegacySystem",
    "MovingFlags",
    "StoreAwayError",
    "UnreadableAnswerError",
    "WatchedFlags",
    "bucket",
    "differences",
    "home_by",
    "legacy_state",
]
