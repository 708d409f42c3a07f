"""`make bench`, or `make bench BENCH=in_memory`: measures, and fails where a bar is missed."""

from __future__ import annotations

import sys

from tests.benchmarks import in_memory
from tests.benchmarks.harness import report

BENCHMARKS = {"in_memory": in_memory.run}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark called {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    results = [result for name in names for result in BENCHMARKS[name]()]
    report(results)
    return 0 if all(bar["met"] for result in results for bar in result.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
