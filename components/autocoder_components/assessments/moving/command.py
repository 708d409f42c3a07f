"""`autocoder assessments moving`: where the move from an older event system stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio
import click

from autocoder import common_options, give, give_json, json_option, open_session
from autocoder_components.assessments.lifecycle.output import data_of
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.moving.decisions import Decision, Standing, list_differing, standing
from autocoder_components.assessments.reports.text import visible
from autocoder_components.assessments.settings import MovingFlags, service_settings

DIFFERS: Final = 1
EPILOG: Final = """\b
Examples:
  autocoder assessments moving --env production
  AUTOCODER_ASSESSMENTS__MOVING__STORE=false autocoder assessments moving

\b
Exit codes: 0 done; 1 comparisons found differences; 2 usage; 69 the database
cannot be reached; 78 invalid configuration.
"""


@click.command("moving", epilog=EPILOG)
@click.option(
    "--differing",
    "limit",
    type=click.IntRange(0, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="Show the last N comparisons that found differences.",
)
@click.option("--env", "environment", metavar="NAME", help="The environment, config/NAME.yaml.")
@click.option("--database", metavar="URL", help="Instead of the settings' database.")
@json_option
@common_options
@click.pass_context
def moving(ctx: click.Context, limit: int, environment: str | None, database: str | None) -> int:
    """Show where the move from an older event system stands.

    That is: the flags of the environment, how many assessments went where, and what both systems answered differently. Only
    decisions that are still kept are counted.
    """
    session = open_session(environment, database=database)
    flags = service_settings(session.settings).moving

    async def asking() -> tuple[Standing, list[Decision]]:
        async with open_store(session.settings.database.options()) as store:
            return await standing(store.database), await list_differing(store.database, limit)

    found, differing = anyio.run(asking)
    if ctx.obj.json:
        shown = [{"assessment_id": each.assessment_id, **(each.comparison or {})} for each in differing]
        give_json({"flags": flags.model_dump(), "decided": data_of(found), "differing": shown})
    else:
        give("\n".join(_lines(flags, found, differing)))
    return DIFFERS if found.differing else 0


def _lines(flags: MovingFlags, found: Standing, differing: Sequence[Decision]) -> list[str]:
    goes = f"{flags.percentage:g} % of new ids go to the store" if flags.store else "new ids go to the older system"
    facts = [
        ("flags", goes),
        ("", "the older system takes what the store fails to store" if flags.legacy_fallback else "no fallback"),
        *([("", "both systems do each, and are compared")] if flags.compare else []),
        ("decided", f"{found.store:,} for the store, {found.legacy:,} for the older system"),
        ("compared", f"{found.compared:,}, of which {found.differing:,} differ; {found.waiting:,} wait for it"),
        *(("differs", line) for each in differing for line in _differences(each)),
    ]
    return [f"{name:<10}{text}" for name, text in facts]


def _differences(decision: Decision) -> list[str]:
    found: list[dict[str, Any]] = (decision.comparison or {}).get("differences", [])
    return [
        visible(
            f"{decision.assessment_id}  {each['what']}: {each['store']!r} in the store, {each['legacy']!r} in the older"
        )
        for each in found
    ]
