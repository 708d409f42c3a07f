"""What `autocoder db verify` asks of the lifecycle: that the audit trail of each assessment folds to its row, without gaps.

Of what is deleted the trail may be there, whole or its end; nothing is asked of it. An id names one assessment as long as its
trail is there, but older versions gave it again: a trail begins anew with an entry that has no version before it.
"""

from __future__ import annotations

from typing import Final

_OF_IT: Final = "FROM assessment_state_audit q WHERE q.assessment_id = a.assessment_id"
_BEGUN: Final = f"(SELECT max(q.id) {_OF_IT} AND q.version_from IS NULL)"
_BEFORE: Final = f"(SELECT max(q.id) {_OF_IT} AND q.id < a.id)"
_LAST: Final = "FROM assessment_state_audit a WHERE a.assessment_id = s.assessment_id ORDER BY a.id DESC LIMIT 1"

RULES: Final = (
    (
        "assessment_states",
        "assessments whose audit trail has no beginning",
        "assessment_states s WHERE NOT EXISTS (SELECT 1 FROM assessment_state_audit a "
        "WHERE a.assessment_id = s.assessment_id AND a.version_from IS NULL)",
    ),
    (
        "assessment_states",
        "assessments that are not as their audit trail leaves them",
        f"assessment_states s WHERE s.version <> (SELECT a.version_to {_LAST}) OR s.state <> (SELECT a.new_state {_LAST})",
    ),
    (
        "assessment_states",
        "entries of audit trails that do not follow from the one before",
        "assessment_state_audit a JOIN assessment_states s ON s.assessment_id = a.assessment_id "
        f"JOIN assessment_state_audit p ON p.id = {_BEFORE} "
        f"WHERE a.id > {_BEGUN} AND (p.version_to <> a.version_from OR p.new_state <> a.old_state)",
    ),
)
"""`(table, what is wrong, the rows that are)`, on both databases."""
