"""What the tests of the loader share."""

from __future__ import annotations

from collections.abc import Callable

from autocoder.declaration import PipelineDeclaration
from autocoder.errors import Problem

Load = Callable[..., tuple[PipelineDeclaration | None, list[Problem]]]
Wrong = Callable[..., list[str]]


def component(body: str) -> str:
    """A pipeline of one component."""
    return f"pipeline: p\ncomponents:\n  a: {body}\n"
