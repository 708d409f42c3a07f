"""Finds the classes that a pipeline names as `module:Class`, and decides what may be imported at all.

A pipeline file may only lead to code that the person who runs it has chosen: modules in the folder of the pipeline
file, in the project folder around it, or below a module prefix that the operator allows (`--allow PREFIX`, or
`AUTOCODER_ALLOW`). The file is located first, by walking the parts of the name through those folders (symbolic links
resolved), and only then executed; asking importlib where `a.b` is would already run `a`.

What was located is what is executed: each module is loaded from its file under its plain name, without a search along
`sys.path`, so that nothing installed can take its place. The plain name (rather than a made-up one) is needed because
classes travel to worker processes by name. For the imports of the module itself its folder stands first on `sys.path`
while it is loaded; afterwards it moves to the end, where it shadows nothing, and stays: worker processes and imports
inside functions need it as long as the process lives.

Two folders may hold modules of one name. The later one takes the name: the modules of the former are forgotten by
`sys.modules` (never those of the interpreter or of installed packages: such a name is refused instead), and classes
loaded from it go on working, but can no longer be sent to a worker process.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeGuard

from autocoder.component import Component
from autocoder.errors import AutocoderError, Place, describe, did_you_mean

ALLOW_VARIABLE: Final = "AUTOCODER_ALLOW"
_PART: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOCK: Final = threading.RLock()


class ImportRefusedError(AutocoderError, ValueError):
    """A name that must not or cannot be imported. `place` is set where the fault lies in the module's own text."""

    exit_code = 78

    def __init__(
        self, what: str, *, found: str | None = None, cure: str | None = None, place: Place | None = None
    ) -> None:
        super().__init__("; ".join(part for part in (what, found and f"found {found}", cure) if part))
        self.what, self.found, self.cure, self.place = what, found, cure, place


def project_folder(start: Path) -> Path:
    """The nearest folder at or above `start` with a pyproject.toml or a .git; `start` itself where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() or (folder / ".git").exists():
            return folder
    return start


def allowed_prefixes(environ: Mapping[str, str], given: Sequence[str] = ()) -> tuple[str, ...]:
    """The module prefixes that the operator allows: those given and those of `AUTOCODER_ALLOW` (comma separated)."""
    listed = [*given, *environ.get(ALLOW_VARIABLE, "").split(",")]
    return tuple(dict.fromkeys(each.strip() for each in listed if each.strip()))


@dataclass(frozen=True, slots=True)
class Importer:
    """What one pipeline may import: modules below `roots` (folders, the first wins) and below `allowed` prefixes."""

    roots: tuple[Path, ...]
    allowed: tuple[str, ...] = ()

    @classmethod
    def for_pipeline(cls, folder: Path, allowed: Sequence[str] = ()) -> Importer:
        """The rules for a pipeline whose file stands in `folder`."""
        folder = folder.resolve()
        return cls(tuple(dict.fromkeys((folder, project_folder(folder)))), tuple(allowed))

    def component(self, use: str) -> type[Component]:
        """The component class that `module:Class` names; raises ImportRefusedError."""
        found, name = self._object(use)
        if not isinstance(found, type):
            raise ImportRefusedError(f"{use!r} is no component class", found=_kind(found), cure=_NO_COMPONENT)
        _must_be_defined(found, use, name)
        if not is_component(found):
            raise ImportRefusedError(
                f"{use!r} is no component", found=f"the class {found.__name__}", cure=_NO_COMPONENT
            )
        return found

    def payload_type(self, name: str) -> Any:
        """The class that `module:Class` names as the type of a payload; raises ImportRefusedError."""
        found, attribute = self._object(name)
        if not isinstance(found, type):
            raise ImportRefusedError(f"{name!r} is no type", found=_kind(found), cure="name a class")
        _must_be_defined(found, name, attribute)
        return found

    def _object(self, use: str) -> tuple[Any, str]:
        module_name, _, attribute = use.partition(":")
        parts = module_name.split(".")
        if not all(_PART.fullmatch(part) for part in parts):
            cure = "name the module from the pipeline's folder or the project folder, as in folder.module:Class"
            raise ImportRefusedError(f"{module_name!r} is no module name", cure=cure)
        if not _PART.fullmatch(attribute):
            raise ImportRefusedError(
                f"{attribute!r} is no class name", cure="name one class of the module: module:Class"
            )
        module = self._module(module_name, parts)
        found = vars(module).get(attribute)  # not getattr: a module's __getattr__ could give anything
        if attribute not in vars(module):
            mine = [
                key
                for key, value in vars(module).items()
                if isinstance(value, type) and value.__module__ == module_name
            ]
            cure = did_you_mean(attribute, mine, plural=f"the classes of {module_name}")
            raise ImportRefusedError(f"the module {module_name!r} has no {attribute!r}", cure=cure)
        return found, attribute

    def _module(self, name: str, parts: Sequence[str]) -> ModuleType:
        running = self._running_script(name)
        if running is not None:
            return running
        for root in self.roots:
            files = _locate(root, parts)
            if files is not None:
                return _load(root, name, parts, files)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in self.allowed):
            return _import_allowed(name)
        raise self._refusal(name, parts)

    def _running_script(self, name: str) -> ModuleType | None:
        """`__main__`, where the script that is running lies in one of the roots."""
        module = sys.modules.get(name) if name == "__main__" else None
        file = getattr(module, "__file__", None)
        if file is None or not any(Path(file).resolve().is_relative_to(root) for root in self.roots):
            return None
        return module

    def _refusal(self, name: str, parts: Sequence[str]) -> ImportRefusedError:
        folders = " or ".join(str(root) for root in self.roots)
        for root in self.roots:
            if _outside(root, parts):
                return ImportRefusedError(
                    f"the module {name!r} is a link to a file outside of {root}", cure="move the file into the project"
                )
        if _is_installed(parts[0]):
            return ImportRefusedError(
                f"the module {name!r} is installed outside of {folders}, and a pipeline file alone cannot choose it",
                cure=f"an operator who trusts it allows it: `autocoder run --allow {name} ...`, "
                f"or {ALLOW_VARIABLE}={name} in the environment",
            )
        here = [each.stem for root in self.roots for each in _listing(root) if each.suffix == ".py"]
        return ImportRefusedError(
            f"there is no module {name!r} in {folders}", cure=did_you_mean(name, here, plural="modules")
        )


_NO_COMPONENT: Final = "name a subclass of Source, Transformer, Splitter, Merger or Sink"


def is_component(found: object) -> TypeGuard[type[Component]]:
    """Whether this is a component class that a pipeline may use: below one of the five kinds, not one of them."""
    return isinstance(found, type) and issubclass(found, Component) and bool(found.kind) and "kind" not in vars(found)


def _kind(found: object) -> str:
    return f"a {type(found).__name__}"


def _must_be_defined(found: Any, use: str, name: str) -> None:
    module = use.partition(":")[0]
    if found.__module__ != module or found.__qualname__ != name:
        raise ImportRefusedError(
            f"{use!r} is another name for a class defined elsewhere",
            found=f"{found.__module__}:{found.__qualname__}",
            cure="name the class where it is defined",
        )


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _locate(root: Path, parts: Sequence[str]) -> list[Path] | None:
    """The file or folder of each part of a module name below `root`, None where it is not there or leads outside."""
    folder, files = root, []
    for number, part in enumerate(parts):
        package, module = folder / part, folder / f"{part}.py"
        is_last = number == len(parts) - 1
        if (package / "__init__.py").is_file():
            files.append(package / "__init__.py")
        elif is_last and module.is_file():
            files.append(module)
        elif package.is_dir() and not is_last:
            files.append(package)
        else:
            return None
        if not files[-1].resolve().is_relative_to(root):
            return None
        folder = package
    return files


def _outside(root: Path, parts: Sequence[str]) -> bool:
    base = root.joinpath(*parts)
    return any(each.is_file() for each in (base.with_name(f"{base.name}.py"), base / "__init__.py"))


def _is_installed(top: str) -> bool:
    """Whether a top-level name can be imported here; looks only, executes nothing."""
    if top in sys.stdlib_module_names or top in sys.modules:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _import_allowed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ImportRefusedError(f"importing {name!r} failed: {describe(error)}") from error


# The modules that pipelines brought into this process, with their files; as global as sys.modules itself.
_OWNED: Final[dict[str, str]] = {}


def _load(root: Path, name: str, parts: Sequence[str], files: Sequence[Path]) -> ModuleType:
    """The module, from exactly these files; its siblings are found beside it while it is loaded."""
    names = [".".join(parts[: number + 1]) for number in range(len(parts))]
    with _LOCK, _first_on_path(root):
        _forget_namesakes(root)
        for each, file in zip(names, files, strict=True):
            _check_name(each, file)
        before = set(sys.modules)
        try:
            for each, file in zip(names, files, strict=True):
                if each not in sys.modules:
                    _execute(each, file, root)
        finally:
            _remember(root, set(sys.modules) - before)
    return sys.modules[name]


@contextmanager
def _first_on_path(root: Path) -> Iterator[None]:
    entry = str(root)
    was_there = entry in sys.path
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        if not was_there:
            sys.path.append(entry)


def _file_of(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    if file:
        return str(os.path.realpath(file))
    folders = list(getattr(module, "__path__", ()))
    return os.path.realpath(folders[0]) if folders else None


def _remember(root: Path, names: set[str]) -> None:
    for name in names:
        module = sys.modules.get(name)
        file = _file_of(module) if module is not None else None
        if file is not None and Path(file).is_relative_to(root):
            _OWNED[name] = file


def _forget_namesakes(root: Path) -> None:
    """Free the names of modules that came from elsewhere by this door and exist below `root` too."""
    for name, file in list(_OWNED.items()):
        here = _locate(root, name.split(".")) if name in _OWNED else None
        if here is None or str(here[-1].resolve()) == file:
            continue
        for each in [each for each in _OWNED if each == name or each.startswith(f"{name}.")]:
            loaded = sys.modules.get(each)
            if loaded is not None and _file_of(loaded) == _OWNED[each]:
                del sys.modules[each]
            del _OWNED[each]


def _check_name(name: str, file: Path) -> None:
    if name in sys.stdlib_module_names:
        raise ImportRefusedError(f"{file} has the name of a module of the standard library", cure="rename the file")
    loaded = sys.modules.get(name)
    if loaded is not None and _file_of(loaded) != str(file.resolve()):
        raise ImportRefusedError(
            f"the name of {file} is taken: {name!r} was already imported from {_file_of(loaded) or 'elsewhere'}",
            cure="rename the file or its folder",
        )


def _execute(name: str, file: Path, root: Path) -> None:
    if file.is_dir():
        spec: ModuleSpec | None = ModuleSpec(name, None, is_package=True)
        assert spec is not None and spec.submodule_search_locations is not None  # noqa: S101  a package has them
        spec.submodule_search_locations.append(str(file))
    else:
        folders = [str(file.parent)] if file.name == "__init__.py" else None
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None:
        raise ImportRefusedError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ImportRefusedError(
            f"importing {name!r} failed: {describe(error)}", place=_fault(error, file, root)
        ) from error
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)


def _fault(error: BaseException, file: Path, root: Path) -> Place:
    """Where in the project's own text the fault lies: the innermost line of the traceback that is no installed code."""
    if isinstance(error, SyntaxError) and error.filename:
        return Place(error.filename, error.lineno or 0, error.offset or 1)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(root) and "site-packages" not in path.parts:
            return Place(frame.filename, frame.lineno or 0, 1)
    return Place(str(file))
