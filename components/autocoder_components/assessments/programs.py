"""The names of programs that mean something here: what a command line may start, and whose names may be shown."""

from __future__ import annotations

SHELLS = frozenset({"bash", "sh", "zsh", "dash", "fish", "ksh", "ash"})
POWERSHELLS = frozenset({"powershell", "pwsh"})
NPM_RUNNERS = frozenset({"npx", "bunx", "pnpx"})
INTERPRETERS = frozenset(
    {"python", "python3", "py", "node", "bun", "deno", "ruby", "perl", "php", "java", "tsx", "ts-node", "nix-shell"}
)
ENGINES = frozenset({"docker", "podman", "nerdctl"})
PRIVILEGE = frozenset({"sudo", "doas", "pkexec", "gsudo"})
DOWNLOADERS = frozenset({"curl", "wget", "iwr", "irm", "invoke-webrequest", "invoke-restmethod", "aria2c", "fetch"})
_OTHERS = """
    npm pnpm yarn uv uvx pipx pip pip3 poetry conda cargo go dnx dotnet nix make git gh cmd wsl env export set
    setx source eval exec cd echo printf cat tee head tail sed awk grep find xargs jq base64 openssl tar unzip
    gzip mkdir chmod chown cp mv rm ln sleep timeout nohup nice ionice stdbuf setsid time trap wait kill test true
    false pwd ls which su runuser ssh sshpass scp rsync nc ncat netcat socat telnet ftp systemctl service
    launchctl crontab osascript psql mysql mariadb mongosh redis-cli sqlite3 kubectl helm terraform aws gcloud az
    op vault busybox iex invoke-expression start start-process rundll32 mshta certutil bitsadmin wscript cscript
    uvicorn flask
"""
KNOWN = SHELLS | POWERSHELLS | NPM_RUNNERS | INTERPRETERS | ENGINES | PRIVILEGE | DOWNLOADERS | set(_OTHERS.split())
"""Whoever reads a finding may see these: a fixed list of words, so that no secret in the wrong place is among them."""
WRAPPERS: dict[str, frozenset[str]] = {
    "nohup": frozenset(),
    "setsid": frozenset(),
    "time": frozenset({"-f", "-o"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "command": frozenset(),
    "exec": frozenset({"-a"}),
    "busybox": frozenset(),
    "nice": frozenset({"-n", "--adjustment"}),
    "ionice": frozenset({"-c", "-n", "-p", "--class", "--classdata"}),
    "timeout": frozenset({"-k", "-s", "--kill-after", "--signal"}),
    "taskset": frozenset(),
}
"""Programs that only start another one, with their options that take a value."""
SSH_VALUED = frozenset(f"-{letter}" for letter in "bBcDEeFIiJLlmOopQRSWw")
