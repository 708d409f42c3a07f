"""From YAML to a `PipelineDeclaration`: reads a pipeline with its overrides and variables, and reports every problem.

The order matters: parse, lay the overrides over, fill in the variables, then read. So a variable that an override
replaces need not be set, and no variable can change the shape of a pipeline. Ports and types are judged later, when
the declaration is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from autocoder.component import Component, RunIn
from autocoder.configuring import configure
from autocoder.connections import hole, read_connections
from autocoder.declaration import ComponentDeclaration, Connection, PipelineDeclaration
from autocoder.errors import Place, Problem, as_written, did_you_mean
from autocoder.importing import Importer, ImportRefusedError, allowed_prefixes
from autocoder.interpolation import interpolate_tree
from autocoder.masking import MASK, Redactor
from autocoder.overrides import lay_over
from autocoder.policies import read_commit_policy, read_error_policy
from autocoder.reading import Reader, is_unresolved
from autocoder.registry import Registry, RegistryError
from autocoder.validation import written_secrets
from autocoder.yaml_document import Entry, MappingNode, Node, ScalarNode, from_python, parse_yaml, read_yaml, show

PIPELINE_KEYS: Final = ("pipeline", "description", "components", "commit")
COMPONENT_KEYS: Final = ("use", "with", "from", "on_error", "concurrency", "ordered", "run_in", "renamed_from")
RUN_IN: Final = ("loop", "thread", "process")
TEXT_NAME: Final = "<text>"
Overrides = Mapping[str, Any] | Node | None


def load_pipeline(
    source: str | Path,
    *,
    registry: Registry,
    environ: Mapping[str, str],
    overrides: Overrides | Callable[[str], Overrides] = None,
    allowed: Sequence[str] = (),
    file_name: str | None = None,
) -> tuple[PipelineDeclaration | None, list[Problem]]:
    """The declaration in a YAML text or in the file at a Path, and everything wrong with it.

    `overrides` (`{components: {name: {with: {...}, ...}}, commit: {...}}`) come from the environment's configuration: a
    parsed node keeps its places, and its values are final (no variable is filled in again). A function is asked for those
    of the pipeline's name. `allowed` are module prefixes beyond those in the `AUTOCODER_ALLOW` of `environ`. The
    declaration is None where nothing could be read; with problems it has holes, so that compiling can find further ones.
    """
    if isinstance(source, Path):
        root, problems = read_yaml(source, file_name)
        folder = source.parent
    else:
        root, problems = _read_text(source, file_name or TEXT_NAME)
        folder = Path.cwd()
    if root is None:
        return None, problems
    reader, partial = Reader(problems), bool(problems)
    if not isinstance(root, MappingNode):
        reader.refuse(root.place, "a pipeline must be a mapping", show(root), f"its keys: {', '.join(PIPELINE_KEYS)}")
        return None, problems
    if callable(overrides):
        overrides = overrides(declared_name(root, environ))
    if overrides is not None:
        laid = overrides if isinstance(overrides, MappingNode) else from_python(overrides, Place("overrides"))
        root = lay_over(reader, root, laid)
    filled = interpolate_tree(root, environ)
    problems.extend(filled.problems)
    importer = Importer.for_pipeline(folder, allowed_prefixes(environ, allowed))
    loading = _Loading(reader, registry, importer, {*filled.secrets, *written_secrets(filled.node)})
    declaration = replace(loading.pipeline(filled.node), written=filled.written, partial=partial)
    return declaration, _redacted([as_written(each, filled.written) for each in problems], loading.secrets)


def declared_name(root: Node, environ: Mapping[str, str]) -> str:
    """The name that a pipeline gives itself, empty where there is none; what is wrong with it, loading tells."""
    entry = root.find("pipeline") if isinstance(root, MappingNode) else None
    value = interpolate_tree(entry.value, environ).node if entry is not None else None
    return value.value if isinstance(value, ScalarNode) and isinstance(value.value, str) else ""


def _redacted(problems: list[Problem], secrets: set[str]) -> list[Problem]:
    """Each problem once, without any secret; one too short to be masked anywhere is masked where it is all that was found."""
    redact = Redactor(secrets)
    whole = {repr(secret) for secret in secrets}
    hidden = [replace(each, found=MASK) if each.found in whole else each for each in dict.fromkeys(problems)]
    return [each.redacted(redact) for each in hidden]


def _read_text(text: str, name: str) -> tuple[Node | None, list[Problem]]:
    stripped = text.strip()
    if stripped and "\n" not in stripped and ":" not in stripped:
        what, cure = "this text is no pipeline", f"if it is the name of a file, give a Path: Path({stripped[:80]!r})"
        return None, [Problem(Place(name), what, repr(stripped[:80]), cure)]
    return parse_yaml(text, name)


@dataclass(slots=True)
class _Loading:
    reader: Reader
    registry: Registry
    importer: Importer
    secrets: set[str]
    _kinds: dict[str, type[Component]] = field(default_factory=dict)
    _types: dict[str, Any] = field(default_factory=dict)

    def pipeline(self, root: Node) -> PipelineDeclaration:
        entries = self.reader.keys(root, PIPELINE_KEYS, "a pipeline")
        name = self._pipeline_name(root, entries.get("pipeline"))
        description = self.reader.text(entries.get("description"), empty=True)
        components = self._components(root, entries.get("components"))
        commit = read_commit_policy(self.reader, entries.get("commit"))
        place = entries["pipeline"].place if "pipeline" in entries else root.place
        return PipelineDeclaration(name, components, commit, description or "", place, frozenset(self.secrets))

    def _pipeline_name(self, root: Node, entry: Entry | None) -> str:
        if entry is None:
            self.reader.refuse(root.place, "the pipeline has no name", cure="write `pipeline: name` first")
            return ""
        text = self.reader.text(entry)
        if text is not None:
            self.reader.name(Entry(text, entry.value.place, entry.value))
        return text or ""

    def _components(self, root: Node, entry: Entry | None) -> tuple[ComponentDeclaration, ...]:
        if entry is None:
            cure = "write `components:` with a mapping of names, a source and a sink at least"
            self.reader.refuse(root.place, "the pipeline has no components", cure=cure)
            return ()
        if not isinstance(entry.value, MappingNode):
            if not is_unresolved(entry.value):
                what = "components must be a mapping from names to {use: ..., with: ..., from: ...}"
                self.reader.refuse(entry.value.place, what, show(entry.value))
            return ()
        return tuple(self._component(each) for each in entry.value)

    def _component(self, named: Entry) -> ComponentDeclaration:
        reader, name = self.reader, named.key
        reader.name(named)
        entries = reader.keys(named.value, COMPONENT_KEYS, f"component {name!r}")
        use = entries.get("use")
        if use is None and isinstance(named.value, MappingNode):
            reader.refuse(
                named.place,
                f"component {name!r} does not say what it is",
                cure="write use: pack.Component or module:Class",
            )
        wanted = reader.text(use)
        kind = self._kinds.get(wanted or "")
        if kind is None and wanted is not None and use is not None:
            kind = self._resolve(wanted, use.value.place)
            if kind is not None:
                self._kinds[wanted] = kind
        component = None
        if kind is not None and use is not None:
            configured = configure(kind, name, use, entries.get("with"), self.import_type)
            component = configured.component
            self.secrets |= configured.secrets
            reader.problems.extend(configured.problems)
        concurrency, ordered = self._parallel(entries, kind, name)
        return ComponentDeclaration(
            name,
            wanted or "",
            kind,
            component,
            connections=self._connections(named.value, entries.get("from"), kind),
            on_error=read_error_policy(reader, entries.get("on_error")),
            concurrency=concurrency,
            ordered=ordered,
            run_in=cast("RunIn | None", reader.choice(entries.get("run_in"), RUN_IN)),
            renamed_from=reader.text(entries.get("renamed_from")),
            place=named.place,
        )

    def _connections(self, node: Node, entry: Entry | None, kind: type[Component] | None) -> tuple[Connection, ...]:
        """What feeds a component; unknown behind a key that was probably meant to be `from`."""
        if entry is None and isinstance(node, MappingNode) and (kind is None or kind.kind != "source"):
            for each in node:
                if each.key not in COMPONENT_KEYS and did_you_mean(each.key, COMPONENT_KEYS) == "did you mean 'from'?":
                    return (hole(each.place),)
        return read_connections(self.reader, entry, kind)

    def _parallel(
        self, entries: Mapping[str, Entry], kind: type[Component] | None, name: str
    ) -> tuple[int | None, bool | None]:
        if kind is not None and kind.kind not in ("transformer", "splitter"):
            for key in ("concurrency", "ordered"):
                if key in entries:
                    what = f"{name}: {key} has no effect on a {kind.kind}, which is called once at a time"
                    self.reader.refuse(entries[key].place, what, cure="leave it out")
            return None, None
        return self.reader.integer(entries.get("concurrency")), self.reader.boolean(entries.get("ordered"))

    def _resolve(self, use: str, place: Place) -> type[Component] | None:
        """The class that `use` names: a colon is a module of the project, a dot a component of a pack."""
        try:
            if ":" in use:
                return self.importer.component(use)
            if "." in use:
                return self.registry.get(use)
        except ImportRefusedError as error:
            if error.place is not None:
                self.reader.refuse(error.place, error.what, cure=f"it is used at {place}")
            else:
                self.reader.refuse(place, error.what, error.found, error.cure)
        except RegistryError as error:
            self.reader.refuse(place, error.what, cure=error.cure)
        else:
            cure = did_you_mean(use, self.registry.names())
            cure = (
                cure if cure.startswith("did you mean") else "write pack.Component, or module:Class for one of your own"
            )
            self.reader.refuse(place, "this names no component", repr(use), cure)
        return None

    def import_type(self, name: str) -> Any:
        """The payload type that a field names: `module:Class` by the import rules, `pack.Name` from a pack."""
        if name not in self._types:
            if ":" in name:
                self._types[name] = self.importer.payload_type(name)
            elif "." in name:
                try:
                    self._types[name] = self.registry.payload_type(name)
                except RegistryError as error:
                    raise ValueError(str(error)) from error
            else:
                raise ValueError("names no type; write str, int, float, bool, dict, list, module:Class or pack.Name")
        return self._types[name]
