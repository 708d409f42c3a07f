"""The shipped pipeline of the service, run until nothing waits, and the states it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import autocoder_components.assessments as pack
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Pipeline, RunSummary
from autocoder.errors import Place
from autocoder.yaml_document import from_python

SHIPPED = Path(pack.__file__ or "").with_name("pipelines") / "assessments.yaml"
ENDS: dict[str, Any] = {
    "inbox": {"with": {"until_empty": True}},
    "due": {"with": {"once": True}},
    "overdue": {"with": {"once": True}},
}


async def serve(url: str, **components: Any) -> RunSummary:
    """The shipped pipeline until nothing waits."""
    pipeline = Pipeline.from_yaml(SHIPPED, overrides=from_python({"components": ENDS | components}, Place("test")))
    return await pipeline.run_async(database=url)


async def states(store: AssessmentStore) -> dict[str, AssessmentState]:
    page = await store.list_assessments(limit=1000)
    return {each.assessment_id: await store.get_state(each.assessment_id, fresh=True) for each in page.assessments}
