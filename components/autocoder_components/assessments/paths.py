"""What a path in a configuration says about the machine it was written on. Pure text; looks at no disk."""

from __future__ import annotations

import re

SEPARATOR = re.compile(r"[\\/]+")
PLACEHOLDER_PATH = re.compile(
    r"(?i)(?:^|[\\/=])(?:absolute[\\/_-])?(?:full[\\/_-])?(?:path|dir|directory)[\\/_-](?:to|of)(?:[\\/_-]|$)"
    r"|[\\/]absolute[\\/]path|your[_ -]?(?:user|name|path|project|home|dir|folder|repo|workspace|account|login|vault|local|app)"
    r"|[\\/](?:Users|home)[\\/](?:you|me|username|user_name|user-name|<[^>]{0,200}>|\[[^\]]{0,200}\]|\{[^}]{0,200}\}|xxx+|your\w*|\.\.\.)(?:[\\/]|$)"
    r"|<[^<>=\"']+>[\\/]|[\\/]<[^<>=\"']+>|[\\/]\.\.\.[\\/]|[\\/]\.\.\.$|[\\/](?:path|dir)[\\/]to\b|\[(?:path|dir|folder|your)[^\]]{0,200}\]"
    r"|REPLACE_(?:ME|WITH)|^<[^<>]*(?:path|dir|folder|file)[^<>]*>$|^path_to_|/some/path|[\\/]example[\\/]path"
)
WINDOWS = re.compile(r"^[A-Za-z]:[\\/]|^\\\\[^\\]")
MACHINE_ROOTS = (
    r"Users|home|root|mnt|Volumes|media|opt|srv|var|Library|Applications|private|nix|workspaces?|data|projects?|repos?"
    r"|code|usr/local|app|[a-z]/Users"
)
POSIX = re.compile(rf"^/(?:{MACHINE_ROOTS})/[^/]")
SYSTEM = re.compile(
    r"^/(?:usr/(?:bin|sbin|lib|share|libexec)|bin|sbin|etc|dev|proc|sys|tmp|lib|run|var/(?:run|tmp|log|lib))(?:/|$)"
)
INSIDE = re.compile(r"(?:^|[\s\"'=:;(])((?:/(?:Users|home|root|mnt|Volumes)/|[A-Za-z]:[\\/](?![\\/]))[^\s\"';|&)]+)")
HOME = re.compile(
    r"^(?:file://)?(?:/Users/[^/\\]+|/home/[^/\\]+|/root|[A-Za-z]:[\\/]+Users[\\/]+[^\\/]+|/(?:mnt/)?[a-z]/Users/[^/]+"
    r"|~|\$HOME|\$\{HOME\}|\$\{env:HOME\}|\$\{userHome\}|\$\{env:USERPROFILE\}|%USERPROFILE%|%HOME%|\{env:HOME\})[\\/]*\.?$"
)
ROOT = re.compile(
    r"^(?:file://)?(?:/+|[A-Za-z]:[\\/]*|/mnt/[a-z]/*|/(?:Users|home|Volumes|mnt|etc|var)/*|//|\\+|/[a-z]/)$"
)
PERSONAL_FOLDERS = re.compile(
    r"(?i)^(?:Documents|Desktop|Downloads|Dropbox|OneDrive[^\\/]*|Google Drive|Library|Pictures|Music|Movies|Videos|AppData|"
    r"My Drive|iCloud Drive|dev|projects?|code|repos?|src|workspace|work|git|github|source)$"
)
CLOUD = re.compile(
    r"(?i)[\\/](?:CloudStorage|Dropbox|OneDrive[^\\/]*"
    r"|Google ?Drive[^\\/]*|iCloud[^\\/]*|Mobile Documents|pCloud\w*)(?:[\\/]|$)"
)
CREDENTIALS = re.compile(
    r"(?i)(?:^|[\\/])\.(?:ssh|aws|gnupg|kube|azure|docker|config[\\/]gcloud|netrc|pgpass)(?:[\\/]|$)"
)
HERE = re.compile(r"^(?:\.|\./|\.\\|\.\.[\\/]?|\$PWD|\$\{PWD\}|\$\(pwd\)|%CD%)$")


def unquoted(text: str) -> str:
    """The text without one pair of literal quotes around it."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def value_part(text: str) -> str:
    """The path of a word: what follows `--flag=` or `file://`, else the word."""
    match = re.match(r"^--?[A-Za-z][\w.-]*[=:](.+)$", text)
    text = unquoted(match[1] if match else text)
    return text[7:] if text.startswith("file:///") else text


def is_placeholder_path(text: str) -> bool:
    """Whether the path is to be filled in: `/path/to/server`, `/Users/YOUR_NAME/x`, `<folder>/x`."""
    return bool(PLACEHOLDER_PATH.search(text)) and ("/" in text or "\\" in text or text.startswith("<"))


def is_machine_path(text: str) -> bool:
    """Whether the text is an absolute path that other machines need not have."""
    return bool(WINDOWS.match(text) or POSIX.match(text)) and not SYSTEM.match(text) and not ROOT.match(text)


def is_absolute(text: str) -> bool:
    """Whether the text is an absolute path on any platform, system folders excepted."""
    return bool(WINDOWS.match(text) or re.match(r"^/[^/\s]+/[^/]", text)) and not SYSTEM.match(text)


def machine_path_inside(text: str) -> str | None:
    """An absolute path of one machine inside a longer text such as a shell script; None when there is none."""
    match = INSIDE.search(text)
    return match[1] if match else None


def is_personal(text: str) -> bool:
    """Whether the path lies in one person's home."""
    return bool(re.match(r"^(?:file://)?(?:/Users/|/home/|[A-Za-z]:[\\/]+Users[\\/]|/(?:mnt/)?[a-z]/Users/)", text))


def breadth(text: str) -> str | None:
    """How much a folder given to a server holds: `root`, `home`, `broad`, or None for something narrower.

    `broad` is a whole personal folder (Documents), a cloud-synchronised one, a folder of credentials, or whatever
    folder the client happens to be started in.
    """
    path = value_part(text).strip()
    if ROOT.match(path):
        return "root"
    if HOME.match(path):
        return "home"
    if HERE.match(path) or CLOUD.search(path) or CREDENTIALS.search(path):
        return "broad"
    parent, _, last = path.rstrip("\\/").replace("\\", "/").rpartition("/")
    return "broad" if parent and HOME.match(parent) and PERSONAL_FOLDERS.match(last) else None
