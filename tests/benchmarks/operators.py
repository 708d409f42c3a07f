"""Cost as the pipeline grows: 1, 4, 16, 64 fused operators beside a plain loop over as many functions; 200 components."""

from __future__ import annotations

import tempfile
from pathlib import Path

from autocoder import Pipeline
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure, measure_curve, step
from tests.benchmarks.in_memory import Increment, Numbers, Tally, increment

MESSAGES = {1: 1_000_000, 4: 500_000, 16: 200_000, 64: 50_000}
X = "operators"
PLAIN = "plain loop"
COMPONENTS = 200
STEP = """
from autocoder import Transformer


class Step(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        return number
"""


def fused(operators: int, messages: int) -> None:
    pipeline = Pipeline("bench")
    at = pipeline.add("numbers", Numbers(upto=messages, size=1000))
    for number in range(operators):
        at = pipeline.add(f"step{number}", Increment(), after=at)
    tally = Tally()
    pipeline.add("tally", tally, after=at)
    pipeline.run()
    assert tally.count == messages, tally.count


def plain(operators: int, messages: int) -> None:
    functions = [increment] * operators
    found: list[int] = []
    for number in range(messages):
        value = number
        for function in functions:
            value = function(value)
        found.append(value)
    assert len(found) == messages


def contenders(operators: int) -> list[Contender]:
    messages = OPTIONS.sized(MESSAGES[operators])
    return [
        Contender("autocoder", lambda: fused(operators, messages), messages),
        Contender(PLAIN, lambda: plain(operators, messages), messages),
    ]


def compiled(folder: Path) -> None:
    """The whole way from a file: read, check, find the classes, configure, compile."""
    lines = ["pipeline: bench", "components:", "  step0: {use: flow.Generate, with: {count: 1}}"]
    lines += [f"  step{at}: {{use: steps:Step, from: step{at - 1}}}" for at in range(1, COMPONENTS - 1)]
    lines.append(f"  end: {{use: flow.Discard, from: step{COMPONENTS - 2}}}")
    (folder / "steps.py").write_text(STEP, encoding="utf-8")
    (folder / "bench.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    graph = Pipeline.from_yaml(folder / "bench.yaml").compile()
    assert len(graph.nodes) == COMPONENTS, len(graph.nodes)


def seconds(folder: Path) -> float:
    started = OPTIONS.clock()
    compiled(folder)
    return OPTIONS.clock() - started


def run() -> list[Result]:
    ends = (step(PLAIN, 64, X), step(PLAIN, 1, X))
    # Divided by what the plain loop keeps of its throughput: 1 is "no faster than", and 5 % are noise.
    slope = Bar(step("autocoder", 1, X), least=0.95, of=step("autocoder", 64, X), beside=ends)
    with tempfile.TemporaryDirectory() as folder:
        return [
            measure_curve("fused operators", X, list(MESSAGES), contenders, [slope]),
            measure(
                f"compile {COMPONENTS} components from YAML",
                [Contender("autocoder", lambda: seconds(Path(folder)))],
                [Bar(most=1.0)],
                unit="s",
            ),
        ]
