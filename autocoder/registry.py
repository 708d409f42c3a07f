"""The components that installed packs offer, by name: `files.ReadLines`.

A registry is a value, not a global: tests and programs make their own from another. Packs are found by the entry-point
group `autocoder.components` and imported only when one of their components is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from autocoder.component import Component
from autocoder.errors import AutocoderError, Place, Problem, describe, did_you_mean
from autocoder.importing import is_component

GROUP: Final = "autocoder.components"


class RegistryError(AutocoderError, LookupError):
    """A name that no pack offers, or a pack that cannot be imported."""

    exit_code = 78

    def __init__(self, what: str, *, cure: str | None = None) -> None:
        super().__init__(f"{what}; {cure}" if cure else what)
        self.what, self.cure = what, cure


@dataclass(frozen=True, slots=True)
class Pack:
    """A package of components: its name in pipelines, its module, and the distribution that brought it."""

    name: str
    module: str
    distribution: str = ""

    @property
    def origin(self) -> str:
        """Where the pack comes from, for a message."""
        return f"{self.module} of {self.distribution}" if self.distribution else self.module


@dataclass(slots=True)
class _Loaded:
    """What was imported so far; shared by the registries made from one another, since a module is imported once."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Registry:
    """Names of components and what stands behind them. Immutable, but for remembering what it imported."""

    def __init__(self, packs: Iterable[Pack] = (), components: Mapping[str, type[Component]] | None = None) -> None:
        self._packs: dict[str, Pack] = {}
        self._duplicates: list[tuple[Pack, Pack]] = []
        self._extra: dict[str, type[Component]] = dict(components or {})
        self._loaded = _Loaded()
        for pack in packs:
            first = self._packs.setdefault(pack.name, pack)
            if first.module != pack.module:
                self._duplicates.append((first, pack))

    @classmethod
    def installed(cls) -> Registry:
        """The packs of every installed distribution; none of them is imported yet."""
        found = metadata.entry_points(group=GROUP)
        packs = [Pack(each.name, each.value, each.dist.name if each.dist else "") for each in found]
        return cls(sorted(packs, key=lambda pack: (pack.name, pack.distribution, pack.module)))

    def with_component(self, name: str, component: type[Component]) -> Registry:
        """This registry and one component more, under a name such as `test.Numbers`."""
        if name.count(".") != 1 or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{name!r} is no component name; write pack.Component")
        other = Registry(self._packs.values(), {**self._extra, name: component})
        other._duplicates, other._loaded = list(self._duplicates), self._loaded
        return other

    def get(self, name: str) -> type[Component]:
        """The component of a name; raises RegistryError with the nearest names."""
        if name in self._extra:
            return self._extra[name]
        pack_name, _, class_name = name.partition(".")
        pack = self._packs.get(pack_name)
        if pack is None:
            known = [*self._packs, *{each.partition(".")[0] for each in self._extra}]
            if pack_name not in known:
                raise RegistryError(f"there is no pack {pack_name!r}", cure=self._unknown_pack(name, class_name, known))
        elif class_name in self._of(pack):
            return self._of(pack)[class_name]
        names = [each for each in self.names() if each.partition(".")[0] == pack_name]
        raise RegistryError(f"the pack {pack_name!r} has no component {class_name!r}", cure=did_you_mean(name, names))

    def _unknown_pack(self, name: str, class_name: str, packs: Iterable[str]) -> str:
        cure = did_you_mean(name, self.names())
        if not cure.startswith("did you mean"):
            homes = [each for each in self.names() if each.partition(".")[2] == class_name]
            return (
                did_you_mean(homes[0], homes) if homes else did_you_mean(name.partition(".")[0], packs, plural="packs")
            )
        return cure

    def payload_type(self, name: str) -> Any:
        """A payload type that a pack publishes under `pack.Name`; raises RegistryError."""
        pack_name, _, class_name = name.partition(".")
        pack = self._packs.get(pack_name)
        if pack is None:
            raise RegistryError(
                f"there is no pack {pack_name!r}", cure=did_you_mean(pack_name, self._packs, plural="packs")
            )
        module = self._module(pack)
        public = {each: getattr(module, each, None) for each in getattr(module, "__all__", ())}
        types = {each: value for each, value in public.items() if isinstance(value, type)}
        if class_name not in types:
            raise RegistryError(
                f"the pack {pack_name!r} has no type {class_name!r}",
                cure=did_you_mean(class_name, types, plural="types"),
            )
        return types[class_name]

    def names(self) -> list[str]:
        """Every component name, sorted; imports all packs, and leaves out the broken ones (see `problems`)."""
        found = set(self._extra)
        for pack in self._packs.values():
            try:
                found.update(f"{pack.name}.{each}" for each in self._of(pack))
            except RegistryError:
                continue
        return sorted(found)

    def packs(self) -> list[Pack]:
        """The packs by name, broken ones included; imports nothing."""
        return sorted(self._packs.values(), key=lambda pack: pack.name)

    def problems(self) -> list[Problem]:
        """Packs that cannot be imported and names that two packs claim; imports all packs."""
        found = []
        for first, other in self._duplicates:
            found.append(
                Problem(
                    Place(f"pack {first.name}"),
                    f"two packs claim this name: {first.origin} and {other.origin}",
                    cure=f"uninstall one of them; {first.origin} is used",
                )
            )
        for pack in self.packs():
            try:
                self._of(pack)
            except RegistryError as error:
                found.append(Problem(Place(f"pack {pack.name}"), error.what, cure=error.cure))
        return found

    def pipelines(self) -> dict[str, Path]:
        """The pipelines that packs ship as `pipelines/<name>.yaml`, by `<pack>.<name>`; imports no pack."""
        found: dict[str, Path] = {}
        for pack in self.packs():
            for folder in _folders(pack.module):
                for file in sorted((folder / "pipelines").glob("*.yaml")):
                    found[f"{pack.name}.{file.stem}"] = file
        return found

    def _of(self, pack: Pack) -> dict[str, type[Component]]:
        module = self._module(pack)
        public = ((name, getattr(module, name, None)) for name in getattr(module, "__all__", ()))
        return {name: each for name, each in public if is_component(each)}

    def _module(self, pack: Pack) -> ModuleType:
        loaded = self._loaded
        if pack.module not in loaded.modules and pack.module not in loaded.failed:
            try:
                loaded.modules[pack.module] = importlib.import_module(pack.module)
            except Exception as error:
                loaded.failed[pack.module] = describe(error)
        if pack.module in loaded.failed:
            raise RegistryError(
                f"the pack {pack.name!r} ({pack.origin}) cannot be imported: {loaded.failed[pack.module]}",
                cure="install what it needs, or uninstall it",
            )
        return loaded.modules[pack.module]


def _folders(module: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    return [Path(each) for each in (spec.submodule_search_locations or ())] if spec is not None else []
