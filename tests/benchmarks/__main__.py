"""`make bench`, or `make bench BENCH=in_memory`: measures, and fails where a bar is missed.

`--quick` does one round of little work, `--long` adds what takes minutes, `--cpu` compares CPU time in place of time.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback

from tests.benchmarks.harness import OPTIONS, Result
from tests.benchmarks.report import keep, machine, table

BENCHMARKS = (
    "in_memory",
    "durable_sqlite",
    "durable_postgres",
    "one_step",
    "latency",
    "calls_in_flight",
    "memory",
    "keyed_state",
    "recovery",
    "operators",
    "start",
    "payloads",
    "pipelines",
    "history",
    "consumers",
    "assessments",
)


def main() -> int:
    flags = {each.removeprefix("--") for each in sys.argv[1:] if each.startswith("--")}
    names = [each for each in sys.argv[1:] if not each.startswith("--")] or list(BENCHMARKS)
    unknown = [f"--{each}" for each in flags if each not in vars(OPTIONS)]
    unknown += [each for each in names if each not in BENCHMARKS]
    if unknown:
        known = ", ".join((*BENCHMARKS, *(f"--{each}" for each in vars(OPTIONS))))
        print(f"nothing is called {', '.join(unknown)}; known: {known}", file=sys.stderr)
        return 2
    for flag in flags:
        setattr(OPTIONS, flag, True)
    print(machine(), file=sys.stderr)
    results: list[Result] = []
    failures: dict[str, str] = {}
    for name in names:
        started = time.perf_counter()
        try:
            for result in importlib.import_module(f"tests.benchmarks.{name}").run():
                results.append(result)
                print(table(result), file=sys.stderr)
        except Exception as error:  # the others are measured all the same
            failures[name] = repr(error)
            print(f"\n{name} FAILED", file=sys.stderr)
            traceback.print_exc()
        print(f"  [{name}: {time.perf_counter() - started:.0f} s]", file=sys.stderr, flush=True)
    print(keep("-".join(names) if len(names) < len(BENCHMARKS) else "all", results, failures))
    missed = [bar for result in results for bar in result.bars if not bar["met"]]
    print(f"\n{len(missed)} bars missed, {len(failures)} benchmarks failed", file=sys.stderr)
    return 1 if missed or failures else 0


if __name__ == "__main__":
    sys.exit(main())
