"""Packs by entry point, and their components by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autocoder.component import Source
from autocoder.registry import Pack, Registry, RegistryError

PACK = """
from collections.abc import Sequence
from dataclasses import dataclass
from autocoder import Sink, Source

@dataclass
class Row:
    text: str

class Keep(Sink[Row]):
    async def write(self, batch: Sequence[Row], /) -> None:
        pass

class Hidden(Keep):
    pass

def helper() -> None: ...

__all__ = ["Keep", "Row", "Source", "helper"]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with an installed distribution of three packs, one broken, and one that claims a name twice."""
    (tmp_path / "goodpack" / "pipelines").mkdir(parents=True)
    (tmp_path / "goodpack" / "__init__.py").write_text(PACK)
    (tmp_path / "goodpack" / "pipelines" / "daily.yaml").write_text("pipeline: daily\n")
    (tmp_path / "badpack.py").write_text("import a_library_that_is_missing\n")
    (tmp_path / "otherpack.py").write_text(PACK)
    for name, points in {
        "aa_dist": "good = goodpack\nbad = badpack\n",
        "bb_dist": "good = otherpack\n",
    }.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[autocoder.components]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_packs_are_imported_when_asked_for(installed: Path) -> None:
    registry = Registry.installed()
    assert {"good", "bad"} <= {pack.name for pack in registry.packs()}
    assert registry.pipelines()["good.daily"] == installed / "goodpack" / "pipelines" / "daily.yaml"
    assert "goodpack" not in sys.modules
    assert registry.get("good.Keep").__module__ == "goodpack"
    assert "badpack" not in sys.modules and "otherpack" not in sys.modules


def test_components_are_those_in_all(installed: Path) -> None:
    registry = Registry([Pack("good", "goodpack")])
    assert registry.names() == ["good.Keep"]
    for name in ("good.Hidden", "good.Source", "good.Row", "good.helper"):
        with pytest.raises(RegistryError, match="has no component"):
            registry.get(name)


def test_a_broken_pack_is_named_and_does_not_break_others(installed: Path) -> None:
    registry = Registry.installed()
    assert "good.Keep" in registry.names()
    found = [str(each) for each in registry.problems() if each.place.file in ("pack bad", "pack good")]
    assert found == [
        "pack good: two packs claim this name: goodpack of aa_dist and otherpack of bb_dist; "
        "uninstall one of them; goodpack of aa_dist is used",
        "pack bad: the pack 'bad' (badpack of aa_dist) cannot be imported: ModuleNotFoundError: "
        "No module named 'a_library_that_is_missing'; install what it needs, or uninstall it",
    ]
    with pytest.raises(RegistryError, match=r"the pack 'bad' .* cannot be imported"):
        registry.get("bad.Anything")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("good.Kep", "the pack 'good' has no component 'Kep'; did you mean 'good.Keep'?"),
        ("god.Keep", "there is no pack 'god'; did you mean 'good.Keep'?"),
        ("elsewhere.Keep", "there is no pack 'elsewhere'; did you mean 'good.Keep'?"),
        ("zzz.Qqq", "there is no pack 'zzz'; packs: good"),
    ],
)
def test_unknown_names(installed: Path, name: str, message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        Registry([Pack("good", "goodpack")]).get(name)
    assert str(caught.value) == message


def test_payload_types_of_packs(installed: Path) -> None:
    registry = Registry([Pack("good", "goodpack")])
    assert registry.payload_type("good.Row").__name__ == "Row"
    for name in ("good.helper", "good.Rw", "bad.Row"):
        with pytest.raises(RegistryError):
            registry.payload_type(name)


def test_a_registry_is_a_value(installed: Path) -> None:
    class Empty(Source[int]):
        def read(self, resume: None, /):  # type: ignore[no-untyped-def]
            yield from ()

    before = Registry([Pack("good", "goodpack")])
    after = before.with_component("test.Empty", Empty).with_component("good.Empty", Empty)
    assert before.names() == ["good.Keep"]
    assert after.names() == ["good.Empty", "good.Keep", "test.Empty"]
    assert after.get("test.Empty") is Empty and after.get("good.Empty") is Empty and after.get("good.Keep")
    for name in ("Empty", "a.b.c", "a b.c", ".x"):
        with pytest.raises(ValueError, match="is no component name"):
            before.with_component(name, Empty)


def test_the_installed_packs_work() -> None:
    registry = Registry.installed()
    assert registry.problems() == []
    assert "files.ReadLines" in registry.names()
