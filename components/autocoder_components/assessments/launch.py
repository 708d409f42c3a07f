"""What a command line really starts: wrappers opened, shells read, packages and containers found. Executes nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from autocoder_components.assessments import packages
from autocoder_components.assessments.launch_parts import (
    ContainerRun,
    Launch,
    Option,
    PackageUse,
    Script,
    Word,
    mounted,
    program_name,
)
from autocoder_components.assessments.nodes import Node
from autocoder_components.assessments.packages import Reference
from autocoder_components.assessments.programs import (
    ENGINES,
    INTERPRETERS,
    NPM_RUNNERS,
    POWERSHELLS,
    SHELLS,
)
from autocoder_components.assessments.secrets import is_secret_name
from autocoder_components.assessments.wrappers import AS_ANOTHER, split, started_by

SHELL_VALUED = re.compile(r"^(?:[-+][a-zA-Z]*[oO]|--(?:rcfile|init-file))$")
POWERSHELL_COMMAND = re.compile(r"^[-/](?:c|command|(?P<encoded>e|ec|en(?:c\w*)?))$", re.IGNORECASE)
POWERSHELL_VALUED = re.compile(
    r"^[-/](?:ex\w*|ep|w|wi\w*|wd|wo\w*|v|ver\w*|psc\w*|if|inp\w*|of?|out\w*|config\w*|settings\w*|cus\w*)$",
    re.IGNORECASE,
)
NPM_VALUED = frozenset({"-p", "--package", "-c", "--call", "--registry", "--cache", "--userconfig", "--prefix", "-w"})
UV_VALUED = frozenset(
    {
        *("--from", "--with", "--python", "-p", "--index-url", "-i", "--index", "--extra-index-url", "--default-index"),
        *("--with-editable", "--with-requirements", "--directory", "--project", "--cache-dir", "--env-file", "-c"),
        *("--constraints", "--constraint", "--exclude-newer", "--find-links", "-f", "--resolution", "--prerelease"),
        *("--link-mode", "--config-file", "--color", "--python-preference", "--refresh-package", "--spec", "--extra"),
        *("--group", "--package", "--pip-args", "--index-strategy", "--suffix", "-m", "--module", "--overrides"),
    }
)
DOCKER_FLAGS = frozenset(
    {
        *("-i", "-t", "-it", "-ti", "-d", "-P", "-q", "--rm", "--interactive", "--tty", "--detach", "--privileged"),
        *("--init", "--read-only", "--publish-all", "--no-healthcheck", "--sig-proxy", "--oom-kill-disable", "--quiet"),
        *("--disable-content-trust", "--help", "-itd", "-dit", "--replace", "--tls", "--tlsverify", "-D", "--debug"),
    }
)
OTHER_COMMANDS = frozenset({"compose", "exec", "mcp", "buildx", "start", "attach", "service", "stack", "ai", "model"})
SEPARATORS = frozenset({"&&", "||", ";", "|", "&", "\n"})
MAX_DEPTH = 6


def analyse(argv: Sequence[Node]) -> Launch:
    """Read a server's command and arguments (string nodes; others are passed over)."""
    words = [Word(node.text, node) for node in argv if node.text is not None]
    launch = Launch(tuple(words))
    if words and is_command_line(words[0].text):
        words[:1] = split(words[0])
    launch.host_words.extend(words)
    _command(words, launch, 0)
    return launch


def is_command_line(command: str) -> bool:
    """Whether a command is a program with arguments in one string, not a path that has spaces."""
    text = command.strip()
    if not re.search(r"\s", text) or text[:1] in "\"'":
        return False
    first, *rest = text.split()
    if re.search(r"\.(?:exe|cmd|bat|app|AppImage)$", text, re.IGNORECASE) and re.match(r"[A-Za-z]:[\\/]|/", text):
        return False
    if not re.match(r"[A-Za-z]:[\\/]|/|~|\.", first):
        return True
    return any(word.startswith(("-", "/", "&&", "|", ";")) or re.match(r"[A-Za-z]:[\\/]", word) for word in rest) or (
        program_name(first) in SHELLS | NPM_RUNNERS | INTERPRETERS | ENGINES | {"uv", "uvx", "npm"}
    )


def _command(words: list[Word], launch: Launch, depth: int) -> None:
    """One simple command: find what it is by its first word."""
    if not words or depth > MAX_DEPTH:
        return
    cut = next((i for i, word in enumerate(words) if word.text in SEPARATORS and not word.whole), None)
    if cut is not None:
        _command(words[:cut], launch, depth + 1)
        _command(words[cut + 1 :], launch, depth + 1)
        return
    head, rest = words[0], words[1:]
    program = head.program
    launch.programs.append(head)
    if program in AS_ANOTHER:
        launch.privileged_by.append(head)
    inner = started_by(head, rest)
    if inner is not None:
        _command(inner, launch, depth + 1)
    elif program in SHELLS | POWERSHELLS:
        _shell(head, rest, launch, depth)
    elif program in NPM_RUNNERS or _is_pair(program, rest, {"npm": "exec x", "pnpm": "dlx", "yarn": "dlx", "bun": "x"}):
        _npm(head, rest if program in NPM_RUNNERS else rest[1:], launch, depth)
    elif program in {"uvx", "pipx"} or _is_pair(program, rest, {"uv": "tool x run"}):
        _python(head, rest, launch, depth)
    elif program in ENGINES:
        _container(head, rest, launch)
    elif program in {"go", "deno", "dnx", "dotnet", "nix"}:
        _other_runner(program, rest, launch)
    else:
        _plain(head, rest, launch, depth)


def _is_pair(program: str, rest: list[Word], pairs: dict[str, str]) -> bool:
    return next((word.text for word in rest if word.text[:1] != "-"), "") in pairs.get(program, "").split()


def _takes_next(flag: str, valued: frozenset[str]) -> bool:
    """Whether an option has its value in the next word: a credential's always, so that it is not taken for a package."""
    return flag in valued or (flag.startswith("--") and is_secret_name(flag))


def _shell(head: Word, rest: list[Word], launch: Launch, depth: int) -> None:
    """`bash -lc 'script'`, `bash -o pipefail -c 'script'`, or a shell that runs a file."""
    if head.program in POWERSHELLS:
        _powershell(head, rest, launch, depth)
        return
    login = False
    at = 0
    while at < len(rest):
        text = rest[at].text
        if not login and (text == "--login" or re.match(r"^-[a-z]*l[a-z]*$", text)):
            login = True
            launch.logins.append(rest[at])
        if re.match(r"^-[a-z]*c$", text) and at + 1 < len(rest):
            launch.scripts.append(Script(head, rest[at], rest[at + 1], login))
            _command(split(rest[at + 1]), launch, depth + 1)
            return
        if not text.startswith(("-", "+")):
            launch.server_words.extend(rest[at + 1 :])
            return
        at += 2 if SHELL_VALUED.match(text) else 1
    if depth == 0:
        launch.nothing_to_run = head


def _powershell(head: Word, rest: list[Word], launch: Launch, depth: int) -> None:
    """`pwsh -NoProfile -ExecutionPolicy Bypass -Command ...`, `-EncodedCommand ...`, or a file."""
    at = 0
    while at < len(rest):
        text = rest[at].text
        command = POWERSHELL_COMMAND.match(text)
        if command is not None and at + 1 < len(rest):
            encoded = command["encoded"] is not None
            script = _decoded(rest[at + 1]) if encoded else rest[at + 1]
            launch.scripts.append(Script(head, rest[at], script, login=False, encoded=encoded))
            _command([*split(script), *rest[at + 2 :]], launch, depth + 1)
            return
        if not text.startswith("-"):
            launch.server_words.extend(rest[at + 1 :])
            return
        at += 2 if POWERSHELL_VALUED.match(text) else 1
    if depth == 0:
        launch.nothing_to_run = head


def _decoded(word: Word) -> Word:
    """The script of an encoded command, UTF-16 in base64; as it is written where it is something else."""
    try:
        return Word(base64.b64decode(word.text, validate=True).decode("utf-16-le"), word.node, whole=False)
    except ValueError:
        return word


def _npm(head: Word, rest: list[Word], launch: Launch, depth: int) -> None:
    confirmed = head.program not in {"npx", "npm"}
    named: list[Word] = []
    at = 0
    while at < len(rest) and rest[at].text.startswith("-"):
        text = rest[at].text
        if text == "--":
            at += 1
            break
        confirmed |= text in {"-y", "--yes", "--no-install", "--offline", "--no", "-yq", "-qy"} or text == "--yes=true"
        flag, equals, value = text.partition("=")
        if flag in {"-p", "--package"}:
            named += [Word(value, rest[at].node, whole=False)] if equals else rest[at + 1 : at + 2]
        at += 2 if _takes_next(flag, NPM_VALUED) and not equals else 1
    command = rest[at:]
    for word in named or command[:1]:
        reference = packages.npm(word.text)
        if reference is not None:
            launch.packages.append(PackageUse(reference, word, head.program))
            if not confirmed:
                launch.unconfirmed.append(head)
            confirmed = True
    if not command and not named and depth == 0:
        launch.nothing_to_run = head
    _package_arguments(command, launch, depth)


def _package_arguments(command: list[Word], launch: Launch, depth: int) -> None:
    """What follows a package: for a runner of its own (`@smithery/cli run`) the next package, else the server's words."""
    words = command[1:]
    launch.server_words.extend(words)
    if command and "@smithery/cli" in command[0].text and len(words) > 1 and words[0].text in {"run", "install"}:
        reference = packages.npm(words[1].text)
        if reference is not None:
            launch.packages.append(PackageUse(reference, words[1], "smithery"))
    else:
        _nested(words, launch, depth)


def _python(head: Word, rest: list[Word], launch: Launch, depth: int) -> None:
    """uvx, `uv tool run`, `pipx run`, and `uv run --with package`."""
    runner = "uv run" if head.program == "uv" else head.program
    wanted: list[Word] = []
    extra: list[Word] = []
    at = 0
    fetches = head.program == "uvx"
    while at < len(rest):
        flag, equals, value = rest[at].text.partition("=")
        if rest[at].text in {"run", "tool", "x"} and head.program != "uvx" and not fetches:
            fetches = head.program == "pipx" or rest[at].text in {"tool", "x"}
            at += 1
            if rest[at - 1].text == "tool" and at < len(rest) and rest[at].text == "run":
                at += 1
            runner = "uvx" if fetches and head.program == "uv" else runner
            continue
        if not flag.startswith("-"):
            break
        if flag in {"--from", "--spec", "--with"}:
            operand = [Word(value, rest[at].node, whole=False)] if equals else rest[at + 1 : at + 2]
            (extra if flag == "--with" else wanted).extend(operand)
        at += 2 if _takes_next(flag, UV_VALUED) and not equals else 1
    command = rest[at:]
    if fetches and not wanted:
        wanted = command[:1]
    for word in (*wanted, *extra):
        reference = packages.pypi(word.text)
        if reference is not None:
            launch.packages.append(PackageUse(reference, word, runner))
    if fetches:
        launch.server_words.extend(command[1:])
        if not command and not wanted and depth == 0:
            launch.nothing_to_run = head
        _nested(command[1:], launch, depth)
    elif runner == "uv run":
        _command(command, launch, depth + 1)


def _container(head: Word, rest: list[Word], launch: Launch) -> None:
    index = next((i for i, word in enumerate(rest) if word.text in {"run", "create"}), None)
    before = [word.text for word in rest[:index] if not word.text.startswith("-")]
    if index is None or (before and before[0] in OTHER_COMMANDS):
        if not rest:
            launch.nothing_to_run = head
        return
    options: list[Option] = []
    at = index + 1
    while at < len(rest) and rest[at].text.startswith("-"):
        flag, equals, value = rest[at].text.partition("=")
        if equals:
            options.append(Option(flag, value, rest[at]))
        elif flag in DOCKER_FLAGS or at + 1 >= len(rest):
            options.append(Option(flag, "", rest[at]))
        elif re.match(r"^-[evpuw].+", flag):
            options.append(Option(flag[:2], flag[2:], rest[at]))
        else:
            options.append(Option(flag, rest[at + 1].text, rest[at + 1]))
            at += 1
        at += 1
    image = rest[at] if at < len(rest) else None
    launch.containers.append(ContainerRun(head, tuple(options), image))
    if image is None:
        launch.nothing_to_run = head
        return
    reference = packages.image(image.text)
    if reference is not None:
        launch.packages.append(PackageUse(reference, image, head.program))
    # Of the words of a container run only what is mounted is a matter of the host.
    mounts = {id(option.value_word) for option in options if mounted(option)[0]}
    inside = {id(word) for word in rest if id(word) not in mounts}
    launch.host_words = [word for word in launch.host_words if id(word) not in inside]


def _other_runner(program: str, rest: list[Word], launch: Launch) -> None:
    words = [word for word in rest if not word.text.startswith("-")]
    reader = {"go": packages.go_module, "deno": packages.deno, "dnx": packages.npm, "dotnet": packages.npm}.get(program)
    skip = 0 if program == "dnx" else 1
    if program == "dotnet" and (not words or words[0].text != "dnx"):
        launch.server_words.extend(words[1:])
        return
    if program == "nix":
        for word in words:
            if word.text.startswith(("github:", "git+")):
                revision = word.text.partition("#")[0]
                fixed = re.search(r"/[0-9a-f]{40}$|rev=|ref=refs/tags", revision)
                pinning = packages.Pinning.EXACT if fixed else packages.Pinning.NONE
                launch.packages.append(PackageUse(Reference("git", revision, None, pinning), word, program))
        return
    for word in words[skip : skip + 1]:
        reference = reader(word.text) if reader else None
        if reference is not None:
            version = next((rest[i + 1].text for i, w in enumerate(rest[:-1]) if w.text == "--version"), None)
            if version and reference.version is None:
                reference = Reference("nuget", reference.name, version, packages.Pinning.EXACT)
            launch.packages.append(PackageUse(reference, word, program))
    launch.server_words.extend(words[skip + 1 :])


def _plain(head: Word, rest: list[Word], launch: Launch, depth: int) -> None:
    """A program of no known kind: its words are the server's, unless it starts another runner further on."""
    launch.server_words.extend(rest)
    if head.program in INTERPRETERS and not rest and depth <= 1:
        launch.nothing_to_run = head
    if head.program in {"pip", "pip3"} and rest and rest[0].text == "install":
        for word in rest[1:]:
            reference = None if word.text.startswith("-") else packages.pypi(word.text)
            if reference is not None:
                launch.packages.append(PackageUse(reference, word, "pip"))
        return
    _nested(rest, launch, depth)


def _nested(words: list[Word], launch: Launch, depth: int) -> None:
    """Find the first runner among a program's arguments: `proxy -- npx -y x`, `proxy --stdio "npx -y x"`."""
    runners = NPM_RUNNERS | {"uvx"}
    for index, word in enumerate(words):
        following = words[index + 1].text if index + 1 < len(words) else ""
        if word.program in runners or (word.program in ENGINES and following == "run"):
            if not word.text.startswith("-") and following:
                _command(words[index:], launch, depth + 1)
                return
        elif " " in word.text and re.match(r"^(?:\S*[\\/])?(?:npx|uvx|bunx|docker|podman|pnpx)(?:\.cmd)?\s", word.text):
            _command(split(word), launch, depth + 1)
            return
