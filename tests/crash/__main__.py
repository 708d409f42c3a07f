"""`make crash`: pipelines killed at random times and judged by the oracle. Exits 1 when an invariant was broken.

Usage: python -m tests.crash [CASES] [TOPOLOGY ...]
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.crash import processes
from tests.crash.case import TOPOLOGIES, Plan, in_new_file, make_tables, run


def main() -> int:
    """Run CASES cases of each topology on SQLite; the first of each is not killed."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    names = sys.argv[2:] or list(TOPOLOGIES)
    violated = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = folder / "template.db"
        processes.ask(lambda: make_tables(f"sqlite:///{template}"), folder / "log.txt")
        print(f"{'topology':<10} {'cases':>6} {'kills':>6} {'violated':>9}  first violation")
        for topology in names:
            violated += _judge(topology, cases, template, folder)
    return 1 if violated else 0


def _judge(topology: str, cases: int, template: Path, folder: Path) -> int:
    kills = violated = 0
    first = ""
    for seed in range(cases):
        chance = random.Random(seed)
        lives = [] if seed == 0 else [chance.uniform(0.02, 0.35) for _ in range(3)]
        plan = Plan(topology, "sqlite", "random", seed, lives)
        result = in_new_file(folder, template, lambda url, plan=plan: run(plan, url, folder))
        kills += result.kills
        violated += bool(result.violations)
        if result.violations and not first:
            first = f"seed {seed}: {result.violations[0]}"
    print(f"{topology:<10} {cases:>6} {kills:>6} {violated:>9}  {first[:150]}", flush=True)
    return violated


if __name__ == "__main__":
    sys.exit(main())
