"""EvaluateControls: waivers applied to what was found, and outcomes mapped to controls where a request asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anyio.to_thread import run_sync
from pydantic import Field

from autocoder import Transformer
from autocoder_components.assessments.controls.judging import judge
from autocoder_components.assessments.controls.packs import load_catalogue
from autocoder_components.assessments.controls.waivers import Waivers, apply_waivers, load_waivers
from autocoder_components.assessments.model import Joined
from autocoder_components.assessments.reports.text import moment
from autocoder_components.assessments.requests import FixedTime, clock


class EvaluateControls(Transformer[Joined, Joined], run_in="thread"):
    """Apply waivers to what was found, and map the outcomes to controls and frameworks where the request says so.

    A control is satisfied only where all of its rules were judged; what no rule maps, or was skipped or went wrong, is "not
    assessed". An expired waiver covers nothing. Files of controls, mappings and waivers are YAML; what is wrong with one is
    told with its line, before anything is assessed.

    ```yaml
    controls:
      use: assessments.EvaluateControls
      from: join
      with: {frameworks: [owasp-mcp-top-10, iso-27001]}
    ```
    """

    mappings: list[Path] = Field(
        default_factory=list, description="rule packs and mappings of your own (YAML), beside those that come with it"
    )
    frameworks: list[str] | None = Field(default=None, description="the frameworks to report on; none given: all")
    waivers: Path | None = Field(default=None, description="a file of waivers (YAML); none: nothing is waived")
    now: FixedTime | None = Field(
        default=None, description="a fixed time (ISO 8601 with offset) instead of the clock's"
    )

    async def open(self) -> None:
        self._catalogue = await run_sync(load_catalogue, self.mappings, self.frameworks)
        self._waivers = Waivers() if self.waivers is None else await run_sync(load_waivers, self.waivers)

    def process(self, joined: Joined, /) -> Joined:
        outcomes, uses = apply_waivers(self._waivers, joined.outcomes, moment(clock(self.now)))
        judged = replace(joined, outcomes=outcomes, waivers=uses)
        if not joined.request.check_compliance:
            return judged
        return replace(judged, compliance=judge(self._catalogue, outcomes, details=joined.request.include_details))
