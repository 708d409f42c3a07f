"""A project folder of its own for each test, and a process that forgets what the test imported."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autocoder.declaration import PipelineDeclaration
from autocoder.errors import Problem
from autocoder.loading import load_pipeline
from autocoder.registry import Registry

PARTS = '''
"""Components of a project."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from autocoder import Batch, Emission, In, Merger, Out, Sink, Source, Splitter, Transformer
from autocoder.durations import Duration


@dataclass
class Order:
    number: int


class Column(BaseModel, extra="forbid"):
    name: str
    width: int = Field(8, gt=0)


def four_digits(pin: SecretStr) -> SecretStr:
    if len(pin.get_secret_value()) < 4:
        raise ValueError(f"{pin.get_secret_value()} is too short")
    return pin


class Numbers(Source[int]):
    """Count from zero to `upto`.

    A thousand at a time.
    """

    upto: int = Field(gt=0, description="where to stop")
    token: SecretStr = SecretStr("")
    mode: Literal["fast", "slow"] = "fast"
    pause: Duration = 0.0
    columns: list[Column] = []
    headers: dict[str, str] = {}
    note: str = ""
    pin: Annotated[SecretStr, AfterValidator(four_digits)] = SecretStr("0000-by-default")
    flag: bool = False

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        yield Batch(list(range(self.upto)))

    def check(self) -> None:
        if self.mode == "slow" and not self.pause:
            raise ValueError(f"slow needs a pause (note {self.note})")
        if self.note == "token":
            raise ValueError(f"the token {self.token.get_secret_value()} is no token")


class Double(Transformer[int, int]):
    """Twice as much."""

    def process(self, number: int, /) -> int:
        return 2 * number


class Parity(Splitter[int]):
    """Even and odd."""

    even = Out(int)
    odd = Out(int)

    def process(self, number: int, /) -> Emission:
        return (self.odd if number % 2 else self.even)(number)


class Both(Merger[int]):
    """Left and right."""

    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        return number


class Count(Sink[int]):
    """Say how many arrived."""

    payload: type[Any] = int
    other: type[Any] | None = None

    async def write(self, batch: Sequence[int], /) -> None:
        pass


Twice = Double
'''


@pytest.fixture(autouse=True)
def forgetful_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imports from its own folder is forgotten afterwards."""
    base = str(tmp_path_factory.getbasetemp())
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(modules):
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(base):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with a module `parts`."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "parts.py").write_text(PARTS)
    return tmp_path


Loaded = tuple[PipelineDeclaration | None, list[Problem]]


@pytest.fixture
def load(project: Path) -> Callable[..., Loaded]:
    """Loads a pipeline text as the file `pipeline.yaml` of the project."""

    def loader(text: str, environ: Mapping[str, str] | None = None, **options: Any) -> Loaded:
        file = project / "pipeline.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        options.setdefault("registry", Registry())
        return load_pipeline(file, environ=environ or {}, file_name="pipeline.yaml", **options)

    return loader


@pytest.fixture
def wrong(load: Callable[..., Loaded]) -> Callable[..., list[str]]:
    """The problems of a pipeline text, as a person reads them, without the file's name, in the order of the file."""

    def messages(text: str, environ: Mapping[str, str] | None = None, **options: Any) -> list[str]:
        return [
            str(each).removeprefix("pipeline.yaml:")
            for each in sorted(load(text, environ, **options)[1], key=lambda each: each.place)
        ]

    return messages
