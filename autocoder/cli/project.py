"""The files of a new project: a pipeline, a component of its own, a test, and what is around them. Plain text."""

from __future__ import annotations

from typing import Final

SCHEMA: Final = "pipeline.schema.json"
_NAME: Final = "@name@"

_PIPELINE: Final = """\
# yaml-language-server: $schema=pipeline.schema.json
pipeline: @name@
description: Read orders, work out what each one costs, and print the bills.
components:
  orders: {use: files.ReadJsonLines, with: {path: "${ORDERS:-orders.jsonl}", payload: "shop:Order"}}
  cost: {use: shop:Cost, from: orders, with: {tax: 0.25}}
  bills: {use: console.Print, from: cost}
"""

_MODULE: Final = '''\
"""The payloads of this project, and the component that turns one into the other."""

from dataclasses import dataclass

from autocoder import Transformer


@dataclass(frozen=True)
class Order:
    item: str
    price: float
    count: int = 1


@dataclass(frozen=True)
class Bill:
    item: str
    total: float


class Cost(Transformer[Order, Bill]):
    """Work out what an order costs, tax included."""

    tax: float = 0.2

    def process(self, order: Order, /) -> Bill:
        return Bill(order.item, round(order.price * order.count * (1 + self.tax), 2))
'''

_TEST: Final = '''\
"""A component is tested by calling it, a pipeline by running it."""

from pathlib import Path

import pytest

from autocoder import Pipeline
from shop import Bill, Cost, Order

PROJECT = Path(__file__).parent.parent


def test_a_bill_holds_all_pieces_and_the_tax() -> None:
    assert Cost(tax=0.5).process(Order("tea", price=2.0, count=3)) == Bill("tea", 9.0)


def test_each_order_becomes_a_bill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("ORDERS", "orders.jsonl")
    summary = Pipeline.from_yaml(Path("pipeline.yaml")).run()
    assert (summary.messages_in, summary.messages_out, summary.dead_letters) == (3, 3, 0)
    assert \'{"item":"coffee","total":15.0}\' in capsys.readouterr().out
'''

_ORDERS: Final = """\
{"item": "tea", "price": 3.2, "count": 5}
{"item": "coffee", "price": 6, "count": 2}
{"item": "milk", "price": 1.16}
"""

_SETTINGS: Final = """\
# The settings of the environment `development`, which holds unless --env or AUTOCODER_ENV names another one.
# Environment variables beat them (AUTOCODER_LOGGING__LEVEL=debug), and the command line beats both.
logging:
  level: info
pipelines:
  @name@:
    commit: {every: 1s}
"""

_PYPROJECT: Final = """\
[project]
name = "@name@"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["autocoder"]

[dependency-groups]
dev = ["pytest"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

_IGNORED: Final = """\
__pycache__/
.pytest_cache/
.venv/
.autocoder/
"""

_README: Final = """\
# @name@

A pipeline that reads orders and prints bills.

| file | what it is |
| --- | --- |
| `pipeline.yaml` | the pipeline: its components, and what each one takes from |
| `shop.py` | the payloads, and the component of this project |
| `orders.jsonl` | something to read |
| `tests/test_shop.py` | tests of the component and of the pipeline |
| `config/development.yaml` | settings: logging, the database, what changes in pipelines |
| `pipeline.schema.json` | what may stand in a pipeline, for editors |

```sh
autocoder validate pipeline.yaml   # everything wrong with it, at once
autocoder run pipeline.yaml        # to the end of the input
autocoder plan pipeline.yaml       # what it compiles to
autocoder graph pipeline.yaml --output pipeline.svg
autocoder components               # what else there is
autocoder schema --output pipeline.schema.json   # for the editor, after a pack was installed
pytest                             # needs pytest: pip install pytest
```
"""

_FILES: Final = {
    "pipeline.yaml": _PIPELINE,
    "shop.py": _MODULE,
    "orders.jsonl": _ORDERS,
    "tests/test_shop.py": _TEST,
    "config/development.yaml": _SETTINGS,
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    ".gitignore": _IGNORED,
}


def project_files(name: str) -> dict[str, str]:
    """The files of a project by their path in it, the schema left out: it follows from what is installed."""
    return {path: text.replace(_NAME, name) for path, text in _FILES.items()}
