"""What `on_error` says is what happens, at its ends too."""

from __future__ import annotations

from pathlib import Path

from autocoder import Pipeline


def test_a_thousand_attempts_are_made(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("""
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 1}}
  halves:
    {use: flow.Map, from: numbers, with: {value: 1 / payload}, on_error: {retry: {attempts: 1200, backoff: 1ms, cap: 1ms}}}
  none: {use: flow.Discard, from: halves}
""")
    summary = Pipeline.from_yaml(file).run()
    assert (summary.components["halves"].retried, summary.dead_letters) == (1199, 1)
