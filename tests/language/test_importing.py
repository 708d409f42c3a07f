"""What a pipeline may import, decided before anything is executed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from autocoder.errors import Place
from autocoder.importing import Importer, ImportRefusedError, allowed_prefixes, project_folder

COMPONENT = """
from collections.abc import Sequence
from autocoder import Sink

class Keep(Sink[int]):
    async def write(self, batch: Sequence[int], /) -> None:
        pass
"""


def refusal(importer: Importer, use: str) -> ImportRefusedError:
    with pytest.raises(ImportRefusedError) as caught:
        importer.component(use)
    return caught.value


def test_the_folder_of_the_pipeline_and_the_project_around_it(project: Path) -> None:
    nested = project / "pipelines" / "daily"
    nested.mkdir(parents=True)
    (nested / "beside.py").write_text(COMPONENT)
    (project / "lib").mkdir()
    (project / "lib" / "sinks.py").write_text(COMPONENT)
    importer = Importer.for_pipeline(nested)
    assert importer.component("beside:Keep").__module__ == "beside"
    assert importer.component("parts:Double").__module__ == "parts"
    assert importer.component("lib.sinks:Keep").__module__ == "lib.sinks"
    assert project_folder(nested) == project


def test_without_a_project_the_folder_itself(tmp_path: Path) -> None:
    assert project_folder(tmp_path) == tmp_path.resolve()


@pytest.mark.parametrize(
    "use", ["os:system", "subprocess:Popen", "os.path:join", "builtins:eval", "sys:exit", "yaml:load"]
)
def test_installed_modules_are_refused_with_the_cure(project: Path, use: str) -> None:
    error = refusal(Importer.for_pipeline(project), use)
    module = use.partition(":")[0]
    assert f"the module {module!r} is installed outside of" in error.what
    assert f"autocoder run --allow {module}" in (error.cure or "")


def test_an_allowed_module_must_still_hold_a_component(project: Path) -> None:
    importer = Importer.for_pipeline(project, ["os", "subprocess", "autocoder"])
    assert refusal(importer, "os:system").what == "'os:system' is no component class"
    assert refusal(importer, "subprocess:Popen").what == "'subprocess:Popen' is no component"
    assert refusal(importer, "autocoder.component:Source").what == "'autocoder.component:Source' is no component"
    assert "another name" in refusal(importer, "autocoder.pipeline:Component").what


def test_a_prefix_is_whole_parts_of_a_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = project.parent / f"{project.name}-installed"
    (outside / "teampack").mkdir(parents=True)
    (outside / "teampack" / "__init__.py").write_text("")
    (outside / "teampack" / "sinks.py").write_text(COMPONENT)
    monkeypatch.syspath_prepend(outside)
    assert Importer.for_pipeline(project, ["teampack"]).component("teampack.sinks:Keep")
    assert Importer.for_pipeline(project, ["teampack.sinks"]).component("teampack.sinks:Keep")
    assert "installed outside" in refusal(Importer.for_pipeline(project, ["team"]), "teampack.sinks:Keep").what


def test_nothing_is_executed_before_it_is_allowed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = project.parent / f"{project.name}-installed"
    (outside / "loud").mkdir(parents=True)
    (outside / "loud" / "__init__.py").write_text(f"open({str(project / 'executed')!r}, 'w')")
    (outside / "loud" / "inner.py").write_text(COMPONENT)
    monkeypatch.syspath_prepend(outside)
    refusal(Importer.for_pipeline(project), "loud.inner:Keep")
    assert not (project / "executed").exists()


def test_a_folder_of_the_project_is_not_taken_for_an_installed_package(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without __init__.py loses to an installed package of its name in Python's own search."""
    outside = project.parent / f"{project.name}-installed"
    (outside / "shared").mkdir(parents=True)
    (outside / "shared" / "__init__.py").write_text(f"open({str(project / 'executed')!r}, 'w')")
    monkeypatch.syspath_prepend(outside)
    (project / "shared").mkdir()
    (project / "shared" / "sinks.py").write_text(COMPONENT)
    kind = Importer.for_pipeline(project).component("shared.sinks:Keep")
    assert sys.modules[kind.__module__].__file__ == str(project / "shared" / "sinks.py")
    assert not (project / "executed").exists()


def test_a_link_that_leads_outside_is_refused(project: Path) -> None:
    outside = project.parent / f"{project.name}-elsewhere.py"
    outside.write_text(COMPONENT)
    (project / "linked.py").symlink_to(outside)
    assert "is a link to a file outside" in refusal(Importer.for_pipeline(project), "linked:Keep").what


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("parts:Duble", "the module 'parts' has no 'Duble'; did you mean 'Double'?"),
        ("prts:Double", "did you mean 'parts'?"),
        ("parts:Twice", "'parts:Twice' is another name for a class defined elsewhere; found parts:Double"),
        ("parts:Source", "is another name for a class defined elsewhere; found autocoder.component:Source"),
        ("parts:Order", "'parts:Order' is no component; found the class Order; name a subclass of Source"),
        ("parts:PARTS", "has no 'PARTS'"),
        ("parts:__doc__", "'parts:__doc__' is no component class; found a str"),
        ("parts:Double.process", "'Double.process' is no class name"),
        ("parts:Double()", "is no class name"),
        ("parts:", "'' is no class name"),
        ("parts:Double:x", "is no class name"),
        (":Double", "'' is no module name"),
        ("..parts:Double", "'..parts' is no module name; name the module from the pipeline's folder"),
        ("../parts:Double", "is no module name"),
        ("/etc/parts:Double", "is no module name"),
        ("parts .x:Double", "is no module name"),
        ("pärts:Double", "is no module name"),
        ("parts\n:Double", "is no module name"),
    ],
)
def test_refused_names(project: Path, use: str, message: str) -> None:
    assert message in str(refusal(Importer.for_pipeline(project), use))


def test_a_module_attribute_hook_gives_nothing(project: Path) -> None:
    (project / "tricky.py").write_text("def __getattr__(name):\n    import os\n    return os.system\n")
    assert "has no 'system'" in refusal(Importer.for_pipeline(project), "tricky:system").what


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\nimport nowhere_to_be_found\n", 2, "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1\n\ndef f(:\n", 3, "SyntaxError"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        (f"{COMPONENT}\n    def statements(self, batch, /): ...\n", 5, "ComponentDefinitionError"),
    ],
)
def test_an_error_in_the_module_is_told_at_its_own_line(project: Path, text: str, line: int, message: str) -> None:
    (project / "broken.py").write_text(text)
    error = refusal(Importer.for_pipeline(project), "broken:Keep")
    assert error.place is not None and (error.place.file, error.place.line) == (str(project / "broken.py"), line)
    assert (
        error.what.startswith("importing 'broken' failed")
        and message.split(":", maxsplit=1)[0] in error.what + "ComponentDefinitionError"
    )
    assert "broken" not in sys.modules


def test_an_error_in_a_sibling_is_told_where_it_is(project: Path) -> None:
    (project / "helper.py").write_text("\n\nx = 1 / 0\n")
    (project / "user.py").write_text("import helper\n")
    error = refusal(Importer.for_pipeline(project), "user:Keep")
    assert error.place == Place(str(project / "helper.py"), 3, 1)


def test_siblings_are_found_and_the_path_is_left_at_its_end(project: Path) -> None:
    (project / "helper.py").write_text("VALUE = 7\n")
    (project / "user.py").write_text(f"import helper\n{COMPONENT}\n    size = helper.VALUE\n")
    before = list(sys.path)
    Importer.for_pipeline(project).component("user:Keep")
    assert sys.path == [*before, str(project)]
    Importer.for_pipeline(project).component("parts:Double")
    assert sys.path == [*before, str(project)]


def test_two_folders_with_modules_of_one_name(project: Path) -> None:
    kinds = []
    for name in ("first", "second", "first"):
        folder = project / name
        folder.mkdir(exist_ok=True)
        (folder / "helper.py").write_text(f"NAME = {name!r}\n")
        (folder / "mine.py").write_text(f"from helper import NAME\n{COMPONENT}\n    name = NAME\n")
        kinds.append(Importer((folder,)).component("mine:Keep"))
    assert [kind.name for kind in kinds] == ["first", "second", "first"]  # type: ignore[attr-defined]
    assert kinds[2] is not kinds[0]


def test_a_module_is_imported_once(project: Path) -> None:
    importer = Importer.for_pipeline(project)
    assert importer.component("parts:Double") is importer.component("parts:Double")
    assert Importer.for_pipeline(project).component("parts:Double") is importer.component("parts:Double")


@pytest.mark.parametrize("name", ["queue", "json", "string"])
def test_names_of_the_standard_library_are_refused(project: Path, name: str) -> None:
    (project / f"{name}.py").write_text(COMPONENT)
    error = refusal(Importer.for_pipeline(project), f"{name}:Keep")
    assert "has the name of a module of the standard library" in error.what and error.cure == "rename the file"


def test_names_of_loaded_packages_are_refused(project: Path) -> None:
    (project / "yaml.py").write_text(COMPONENT)
    assert "'yaml' was already imported from" in refusal(Importer.for_pipeline(project), "yaml:Keep").what


def test_payload_types_need_not_be_components(project: Path) -> None:
    importer = Importer.for_pipeline(project)
    assert importer.payload_type("parts:Order").__name__ == "Order"
    for name, message in [("parts:PARTS", "has no"), ("parts:__doc__", "is no type"), ("os:PathLike", "--allow os")]:
        with pytest.raises(ImportRefusedError, match=message):
            importer.payload_type(name)


def test_a_worker_process_finds_the_classes(project: Path) -> None:
    kind = Importer.for_pipeline(project).payload_type("parts:Order")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(kind(7)), env=environ, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"Order(number=7)"


def test_the_running_script_may_name_its_own_classes(project: Path) -> None:
    script = project / "script.py"
    script.write_text(
        f"{COMPONENT}\nfrom pathlib import Path\nfrom autocoder.importing import Importer\n"
        "print(Importer.for_pipeline(Path(__file__).parent).component('__main__:Keep') is Keep)\n"
        "try:\n    Importer.for_pipeline(Path('/usr')).component('__main__:Keep')\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, text=True, cwd=project)
    assert done.stdout.split() == ["True", "ImportRefusedError"]


def test_allowed_prefixes_come_from_both_sides() -> None:
    assert allowed_prefixes({"AUTOCODER_ALLOW": " a.b, c,,a.b"}, ["d"]) == ("d", "a.b", "c")
    assert allowed_prefixes({}) == ()
