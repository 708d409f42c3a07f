"""Cost as the pipeline grows: 1, 4, 16, 64 fused operators beside a plain loop over as many functions; 200 components."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

from autocoder import Pipeline
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure, measure_curve, step
from tests.benchmarks.in_memory import Increment, Numbers, Tally, increment

MESSAGES = {1: 1_000_000, 4: 500_000, 16: 200_000, 64: 100_000}
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


def of_each(work: Callable[[int, int], None], messages: int) -> float:
    """What each of the operators behind the first one adds to a message, in ns."""
    moments = [OPTIONS.clock()]
    for operators in (1, 64):
        work(operators, messages)
        moments.append(OPTIONS.clock())
    one, many = (after - before for before, after in itertools.pairwise(moments))
    return (many - one) / messages / 63 * 1e9


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
    # 5 % are noise. Tried: the ratio of throughputs at 64 and 1, which only says that with one operator ours is faster.
    ends = [Bar(step(PLAIN, number, X), least=0.95, of=step("autocoder", number, X)) for number in (1, 64)]
    messages = OPTIONS.sized(MESSAGES[64])
    with tempfile.TemporaryDirectory() as folder:
        return [
            measure_curve("fused operators", X, list(MESSAGES), contenders, ends),
            measure(
                "what each further operator adds to a message",
                [
                    Contender("autocoder", lambda: of_each(fused, messages)),
                    Contender(PLAIN, lambda: of_each(plain, messages)),
                ],
                [Bar(PLAIN, most=1.05)],
                unit="ns",
            ),
            measure(
                f"compile {COMPONENTS} components from YAML",
                [Contender("autocoder", lambda: seconds(Path(folder)))],
                [Bar(most=1.0)],
                unit="s",
            ),
        ]
