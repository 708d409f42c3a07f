"""Whether a command line runs what it has just downloaded. Each expression takes time linear in the text."""

from __future__ import annotations

import re

from autocoder_components.assessments.launch_parts import program_name
from autocoder_components.assessments.programs import DOWNLOADERS, INTERPRETERS, POWERSHELLS, PRIVILEGE, SHELLS

# A quote is a boundary, for the script of `bash -c "..."` is read with what is around it; `&` alone stands in addresses.
STEP = re.compile(r"&&|\|\||;|\n|\s&(?=\s)")
WORD = re.compile(r"[^\s\"'()]+")
FETCHES = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(map(re.escape, DOWNLOADERS)))})(?![\w-])", re.IGNORECASE)
SUBSTITUTED = re.compile(
    r"(?:(?<![\w-])(?:eval|source|exec|(?:ba|z|da|k|fi|a)?sh|python3?|node|ruby|perl|php|iex)|(?<=\s)\.)"
    r"(?:\s+-\w+)?\s{1,8}(?:<\s?)?[\"']?(?:<\(|\$\(|`)\s{0,8}(?:sudo\s)?(?:curl|wget|aria2c)(?![\w-])",
    re.IGNORECASE,
)
POWERSHELL_RUNS = re.compile(r"(?<![\w-])(?:iex|invoke-expression|\[scriptblock\]::create)(?![\w-])", re.IGNORECASE)
POWERSHELL_FETCHES = re.compile(
    r"(?<![\w-])(?:irm|iwr|curl|wget|invoke-restmethod|invoke-webrequest)(?![\w-])|downloadstring|downloaddata|downloadfile"
    r"|net\.webclient",
    re.IGNORECASE,
)
CODE_RUNS = re.compile(
    r"(?<![\w.])(?:exec|eval|Function|execSync|compile)\s?\(|\(eval\)|\.runIn\w{1,24}\(|\b(?:class|instance)_eval\b"
)
CODE_FETCHES = re.compile(
    r"\burlopen\b|\burlretrieve\b|\brequests\.(?:get|post)\b|\bhttpx\.|\bfetch\s?\(|\bhttps?\.(?:get|request)\b|\bURI\.open\b"
    r"|\bfile_get_contents\b|\bLWP::|\baxios\b|\bNet::HTTP\b"
)
OUTPUT_FLAG = re.compile(r"(?i)^(?:-[a-z]*o|--output|--output-document|-outfile|--out|>{1,2})$")
OUTPUT_JOINED = re.compile(r"(?i)^(?:--output=|--output-document=|-o(?=[./\w])|>{1,2}(?=.))(.+)$")
RUNNERS = (
    SHELLS | POWERSHELLS | INTERPRETERS | {"iex", "invoke-expression", "source", ".", "start", "start-process", "&"}
)
SKIPPED = PRIVILEGE | {"env", "exec", "nohup", "time", "nice", "command", "then", "do", "xargs", "busybox"}


def runs_download(text: str) -> bool:
    """Whether something is downloaded and run at once: piped, substituted, saved and started, or evaluated as code."""
    if SUBSTITUTED.search(text) or (POWERSHELL_RUNS.search(text) and POWERSHELL_FETCHES.search(text)):
        return True
    if CODE_RUNS.search(text) and CODE_FETCHES.search(text):
        return True
    if FETCHES.search(text) is None:
        return False
    saved: set[str] = set()
    for step in STEP.split(text):
        fetched = False
        for stage in step.split("|"):
            words = WORD.findall(stage)
            program, arguments = _program(words)
            if (fetched and program in RUNNERS) or (saved and _starts(program, arguments, words, saved)):
                return True
            if FETCHES.search(stage):
                fetched = True
                saved |= _saved(words)
            elif fetched:
                saved |= _saved(words)  # `curl ... | tee file`
    return False


def _program(words: list[str]) -> tuple[str, list[str]]:
    """The program of a command and its arguments, behind assignments, wrappers and their options."""
    for index, word in enumerate(words):
        name = program_name(word)
        if name not in SKIPPED and not word.startswith("-") and not re.match(r"\w+=", word):
            return (name or word), words[index + 1 :]
    return "", []


def _starts(program: str, arguments: list[str], words: list[str], saved: set[str]) -> bool:
    if any(_plain(word) in saved for word in words[:3] if program_name(word) == program):
        return True
    return program in RUNNERS and any(_plain(word) in saved for word in arguments)


def _saved(words: list[str]) -> set[str]:
    """The files that the words of a download say it is saved in, or the last part of its address."""
    found = {_plain(words[at + 1]) for at, word in enumerate(words[:-1]) if OUTPUT_FLAG.match(word) or word == "tee"}
    found |= {_plain(match[1]) for word in words if (match := OUTPUT_JOINED.match(word))}
    for word in words:
        if "://" in word:
            found.add(re.split(r"[?#]", word, maxsplit=1)[0].rpartition("/")[2])
    return found - {"", "-"}


def _plain(word: str) -> str:
    return word.removeprefix("./").removeprefix(".\\")
