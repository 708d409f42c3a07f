"""What a command line is made of: words with their places, and what the programs among them fetch, run and mount."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from autocoder_components.assessments.nodes import Node
from autocoder_components.assessments.packages import Reference

SUFFIX = re.compile(r"\.(?:exe|cmd|bat|ps1)$", re.IGNORECASE)


def program_name(text: str) -> str:
    """The name of the program that a path or name runs: no folder, no `.exe`, lower case."""
    return SUFFIX.sub("", re.split(r"[\\/]", text.strip("\"'"))[-1]).lower()


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line and the value it is written in; a word cut out of a longer string is not `whole`."""

    text: str
    node: Node
    whole: bool = True

    @property
    def program(self) -> str:
        """The word as the name of a program: no folder, no `.exe`, lower case."""
        return program_name(self.text)


@dataclass(frozen=True, slots=True)
class PackageUse:
    """A package that a runner fetches and runs."""

    reference: Reference
    word: Word
    runner: str


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a container engine; `value_word` is where its value stands."""

    flag: str
    value: str
    value_word: Word


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A `docker run` and its like."""

    engine: Word
    options: tuple[Option, ...]
    image: Word | None


@dataclass(frozen=True, slots=True)
class Script:
    """Text given to a shell to be run; `flag` is the word with `-c`. What was `encoded` stands here as it will run."""

    shell: Word
    flag: Word
    text: Word
    login: bool
    encoded: bool = False


@dataclass(slots=True)
class Launch:
    """Everything a command line starts. `server_words` go to the server itself, `host_words` stay outside containers."""

    words: tuple[Word, ...]
    packages: list[PackageUse] = field(default_factory=list)
    containers: list[ContainerRun] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    privileged_by: list[Word] = field(default_factory=list)
    unconfirmed: list[Word] = field(default_factory=list)
    programs: list[Word] = field(default_factory=list)
    server_words: list[Word] = field(default_factory=list)
    host_words: list[Word] = field(default_factory=list)
    nothing_to_run: Word | None = None
    logins: list[Word] = field(default_factory=list)


def mounted(option: Option) -> tuple[str, bool]:
    """The host's side of a mount option and whether it is read-only; empty when the option mounts nothing."""
    if option.flag in {"-v", "--volume"}:
        value = re.sub(r"\$\{[^}]{0,200}\}", lambda match: match.group().replace(":", "\0"), option.value)
        match = re.match(r"^((?:[A-Za-z]:)?[^:]*):([^:]*)(?::(.*))?$", value)
        if match is None:
            return "", False
        return match[1].replace("\0", ":"), "ro" in (match[3] or "").split(",")
    if option.flag == "--mount":
        fields = dict(part.partition("=")[::2] for part in option.value.split(","))
        if fields.get("type", "volume") == "bind":
            return fields.get("source") or fields.get("src") or "", "readonly" in fields or "ro" in fields
    return "", False
