"""`make crash`: pipelines killed at named places and at random times, judged by the oracle. Exits 1 after a violation."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.crash import processes  # first: it arms the failpoints

# isort: split
from tests.crash import assessments
from tests.crash.assessments_lives import get_ready
from tests.crash.bugs import BUGS
from tests.crash.campaign import (
    Caught,
    Outcome,
    beside_plans,
    counted_plans,
    failpoint_plans,
    random_plans,
    run_all,
    run_bugs,
    run_cancellations,
    takeover_plans,
)
from tests.crash.case import Plan, Result
from tests.crash.databases import BACKENDS, Databases, open_databases
from tests.crash.topologies import TOPOLOGIES

ASSESSMENTS = "assessments"


def main() -> int:
    """Run a campaign on each database and print what it came to."""
    processes.check()
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument(
        "topologies", nargs="*", help="which pipelines, or `assessments`: the lifecycle and its service (all)"
    )
    parser.add_argument("--database", choices=BACKENDS, action="append", help="which database (both)")
    parser.add_argument("--random", type=int, default=1000, help="kills at random times, on each database")
    parser.add_argument("--failpoint", type=int, default=1000, help="kills at named places, on each database")
    parser.add_argument("--assessments", type=int, default=120, help="kills of those who work on assessments, likewise")
    parser.add_argument("--beside", type=int, default=6, help="rounds of savepoints, replays, retention, table making")
    parser.add_argument("--takeover", type=int, default=3, help="rounds of frozen owners and lost answers")
    parser.add_argument(
        "--bugs", type=int, default=30, help="cases in which each seeded bug has to be caught (0: none)"
    )
    parser.add_argument("--bug", choices=list(BUGS), action="append", help="which seeded bugs (all)")
    parser.add_argument("--cancel", type=int, default=7, help="cancel at every n-th await, on SQLite (0: at none)")
    parser.add_argument("--report", type=Path, default=Path("build/crash"), help="the folder for the figures as JSON")
    given = parser.parse_args()
    unknown = set(given.topologies) - {*TOPOLOGIES, ASSESSMENTS}
    if unknown:
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; known: {', '.join((*TOPOLOGIES, ASSESSMENTS))}")
    asked = given.topologies or [*TOPOLOGIES, ASSESSMENTS]
    given.topologies = [each for each in asked if each != ASSESSMENTS]
    given.assessments = given.assessments if ASSESSMENTS in asked else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped, too
    if ASSESSMENTS in asked:
        get_ready()
    outcome, started = Outcome(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="autocoder-crash-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        backends = given.database or BACKENDS
        databases = {each: stack.enter_context(open_databases(each, folder)) for each in backends}
        for backend in backends:
            if given.topologies:
                campaign(outcome, backend, given.topologies, databases, folder, given)
            if given.assessments:
                assess(outcome, backend, databases, folder, given.assessments)
            if backend in outcome.killed:
                show(outcome, backend)
            if given.bugs and ASSESSMENTS in asked:
                break_rules(outcome, backend, databases, folder)
            if given.bugs and given.topologies:
                chosen = [BUGS[name] for name in given.bug or BUGS]
                for caught in run_bugs(chosen, backend, given.bugs, databases, folder):
                    outcome.bugs.append(caught)
                    show_bug(caught)
        if given.cancel and "sqlite" in databases:
            for cancelled in run_cancellations(given.topologies, given.cancel, databases, folder):
                outcome.cancelled.append(cancelled)
                outcome.violations += cancelled.violations
                wrong = len(cancelled.violations)
                shown = f"cancelled at {cancelled.tried} of {cancelled.awaits} awaits, {wrong} violated"
                print(cancelled.topology, shown, *cancelled.violations[:1], flush=True)
        save(outcome, time.monotonic() - started, given.report)
    return 1 if outcome.violations or not all(each.by for each in outcome.bugs) else 0


def campaign(
    outcome: Outcome,
    backend: str,
    topologies: Sequence[str],
    databases: dict[str, Databases],
    folder: Path,
    amounts: argparse.Namespace,
) -> None:
    """All cases of one database."""
    for result in run_all(counted_plans(backend, topologies), databases, folder):
        outcome.add(result)
        _tell(result)
    passages = {topology: outcome.passages[backend, topology] for topology in topologies}
    busy = {topology: outcome.busy[backend, topology] for topology in topologies}
    plans = [
        *(random_plans(backend, busy, amounts.random) if amounts.random else ()),
        *(failpoint_plans(backend, passages, amounts.failpoint) if amounts.failpoint else ()),
        *(takeover_plans(backend, busy, amounts.takeover) if amounts.takeover else ()),
        *(beside_plans(backend, busy, amounts.beside) if amounts.beside else ()),
    ]
    _run(outcome, backend, plans, databases, folder)


def assess(outcome: Outcome, backend: str, databases: dict[str, Databases], folder: Path, kills: int) -> None:
    """All cases of assessments on one database."""
    for result in run_all(assessments.counted_plans(backend), databases, folder):
        outcome.add(result)
        _tell(result)
    passages = {kind: outcome.passages[backend, kind] for kind in assessments.KINDS}
    busy = {kind: outcome.busy[backend, kind] for kind in assessments.KINDS}
    _run(outcome, backend, list(assessments.plans(backend, passages, busy, kills)), databases, folder)


def break_rules(outcome: Outcome, backend: str, databases: dict[str, Databases], folder: Path) -> None:
    """Each rule of the lifecycle broken, in turn: each has to be seen."""
    for result in run_all(assessments.bug_plans(backend), databases, folder):
        caught = Caught(result.plan.bug, backend, 1, "".join(result.violations[:1]))
        outcome.bugs.append(caught)
        print(f"{caught.name:<28} {caught.by.partition(chr(10))[0][:140] or 'NOT CAUGHT'}", flush=True)


def _run(outcome: Outcome, backend: str, plans: Sequence[Plan], databases: dict[str, Databases], folder: Path) -> None:
    for number, result in enumerate(run_all(plans, databases, folder), 1):
        outcome.add(result)
        _tell(result)
        if number % 50 == 0:
            print(f"  {backend}: {number} of {len(plans)} cases", file=sys.stderr, flush=True)


def _tell(result: Result) -> None:
    for each in result.violations:
        print(f"VIOLATED {result.plan}\n    {each[:2000]}", flush=True)


def show(outcome: Outcome, backend: str) -> None:
    """Print the table of one database."""
    print(f"\n{backend}\n{'topology':<10} {'fault':<10} {'cases':>6} {'kills':>6} {'violated':>9}  first violation")
    for (of, topology, fault), each in sorted(outcome.tallies.items()):
        if of == backend:
            first = each.first.partition("\n")[0][:150]
            print(f"{topology:<10} {fault:<10} {each.cases:>6} {each.kills:>6} {each.violated:>9}  {first}")
    total = outcome.total(backend)
    bound = f"{total.bound:.2%} of cases (95 % upper bound, rule of three)" if not total.violated else "-"
    print(f"{'total':<10} {'':<10} {total.cases:>6} {total.kills:>6} {total.violated:>9}  violated at most: {bound}")
    show_failpoints(outcome, backend)


def show_failpoints(outcome: Outcome, backend: str) -> None:
    """Print the named places with their kills, and which topologies never came there."""
    reached = {topology: names for (of, topology), names in outcome.passages.items() if of == backend}
    every = sorted({name for names in reached.values() for name in names} | set(outcome.killed[backend]) - {""})
    print(f"\n{'failpoint':<22} {'passages':>9} {'kills':>6}  topologies that pass it")
    for name in every:
        passing = [topology for topology, names in reached.items() if name in names]
        passages = sum(names.get(name, 0) for names in reached.values())
        shown = "all" if len(passing) == len(reached) else ", ".join(passing) or "- (beside the run)"
        print(f"{name:<22} {passages:>9} {outcome.killed[backend][name]:>6}  {shown}")


def show_bug(caught: Caught) -> None:
    """Print one seeded bug."""
    by = caught.by.partition("\n")[0][:140] or "NOT CAUGHT"
    print(f"{caught.name:<28} {BUGS[caught.name].invariant:<4} {caught.cases:>3} cases  {by}", flush=True)


def save(outcome: Outcome, seconds: float, folder: Path) -> None:
    """Write all figures as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(outcome.as_json() | {"seconds": round(seconds, 1)}, indent=1) + "\n")
    print(f"\n{seconds:.0f} s; the figures are in {file}")


if __name__ == "__main__":
    sys.exit(main())
