"""From a request to outcomes: discovery, planning, the two static checks."""

from __future__ import annotations

import os
import secrets
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from autocoder import AutocoderError, Emission, Out, Splitter, Transformer
from autocoder_components.assessments.discover import discover, load
from autocoder_components.assessments.document import Document
from autocoder_components.assessments.model import (
    OF_SERVERS,
    USUAL_CHECKS,
    Check,
    CheckKind,
    Discovery,
    Finding,
    Outcome,
    Request,
    Status,
    Target,
)
from autocoder_components.assessments.rules import RuleOptions, check_security, left_out, validate_config
from autocoder_components.assessments.rules.request import name_matches_nothing

UNMATCHED = "no server's name matches the filter {0!r}"
SALT_BYTES = 32
Rules = Callable[[Target, Document, RuleOptions], tuple[Finding, ...]]


class SaltError(AutocoderError):
    """The key of the hashes cannot be read or made."""


class DiscoverTargets(Transformer[Request, Discovery], run_in="thread"):
    """Find the client configurations that a request names (or those of this machine), and every server in them.

    Reads the files of the known clients, project and user level; starts nothing. A broken file becomes a target with its
    problem and never stops the others. Runs in a thread: a walk over a large tree takes seconds.

    ```yaml
    discover: {use: assessments.DiscoverTargets, from: requests}
    ```
    """

    def process(self, request: Request, /) -> Discovery:
        return discover(request)


class PlanChecks(Splitter[Discovery]):
    """Decide which checks each target gets; what is left out goes to `skipped` with the reason.

    The type of the assessment says which checks there are (security: config and security; health: config and status), and
    the options of the request add and take away; a deep scan belongs to none and has to be asked for. Only servers have a
    status and tools, a file as a whole has none.

    ```yaml
    plan:     {use: assessments.PlanChecks, from: discover}
    config:   {use: assessments.ValidateConfig, from: plan.config}
    security: {use: assessments.CheckSecurity, from: plan.security}
    status:   {use: assessments.ProbeServer, from: plan.status}
    deep:     {use: assessments.InspectTools, from: plan.deep}
    ```
    """

    config = Out(Check)
    security = Out(Check)
    status = Out(Check)
    deep = Out(Check)
    skipped = Out(Outcome)

    def process(self, discovery: Discovery, /) -> Iterator[Emission]:
        request = discovery.request
        usual = USUAL_CHECKS[request.assessment_type]
        known = (
            (self.config, CheckKind.CONFIG, request.validate_config),
            (self.security, CheckKind.SECURITY, request.check_security),
            (self.status, CheckKind.STATUS, request.check_server_status),
            (self.deep, CheckKind.DEEP, request.deep_scan),
        )
        checks = [
            (target, *each)
            for target in discovery.targets
            for each in known
            if (each[2] or each[1] in usual) and (target.server is not None or each[1] not in OF_SERVERS)
        ]
        planned = len(checks) + len(discovery.unmatched_filters) + (not discovery.targets)
        for target, out, kind, asked in checks:
            if asked:
                yield out(Check(request, target, kind, planned))
            else:
                yield self.skipped(
                    Outcome(request, target, kind, Status.SKIPPED, planned, reason="switched off in the request")
                )
        for pattern in discovery.unmatched_filters:
            reason = UNMATCHED.format(pattern)
            findings = (name_matches_nothing(request, pattern, reason[0].upper() + reason[1:]),)
            yield self.skipped(
                Outcome(request, None, CheckKind.SKIPPED, Status.ERROR, planned, findings, reason=reason)
            )
        if not discovery.targets:
            yield self.skipped(
                Outcome(
                    request,
                    None,
                    CheckKind.SKIPPED,
                    Status.NOT_APPLICABLE,
                    planned,
                    reason="no client configuration was found",
                )
            )


def _judge(check: Check, rules: Rules, options: RuleOptions) -> Outcome:
    """Run the rules of one check; what cannot be read or breaks is an error outcome, never a pass and never lost."""
    loaded = load(check.target)
    blank = Outcome(check.request, check.target, check.kind, Status.ERROR, check.planned, reason=loaded.problem)
    if loaded.document is None:
        return blank
    try:
        findings = rules(check.target, loaded.document, options)
    except Exception as error:
        return replace(blank, reason=mistake("the rules broke on this configuration", error))
    if not check.request.include_details:
        findings = tuple(replace(each, evidence=None) for each in findings)
    missed = left_out(check.target, loaded.document, options)
    verdict = Status.FAIL if findings else Status.PASS
    return replace(blank, status=verdict, findings=findings, reason=None, left_out=missed)


def mistake(what: str, error: Exception) -> str:
    """What broke and where, without what the error says: that may quote the configuration."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    return f"{what} ({where}); that is a mistake in autocoder, please report it"


class ValidateConfig(Transformer[Check, Outcome], run_in="thread"):
    """Check that a configuration parses and says what its client understands: keys, types, references, paths.

    ```yaml
    config: {use: assessments.ValidateConfig, from: plan.config}
    ```
    """

    check_files: bool = Field(default=True, description="look at whether the paths that a configuration names exist")

    async def open(self) -> None:
        self._options = RuleOptions(check_files=self.check_files)

    def process(self, check: Check, /) -> Outcome:
        return _judge(check, validate_config, self._options)


class CheckSecurity(Transformer[Check, Outcome], run_in="thread"):
    """Check what the configured servers could do: secrets in the open, unpinned programs, wide mounts, plain HTTP.

    Of a secret only a keyed hash and its place are kept. The key lies in `salt_file`, readable by its owner only and made
    at first use, so that the hashes of two runs on one installation agree and nobody else can compare them.

    ```yaml
    security: {use: assessments.CheckSecurity, from: plan.security, with: {inventory: [github, "@acme/tickets-mcp"]}}
    ```
    """

    inventory: list[str] | None = Field(
        default=None, description="approved servers, by name or package; none: not judged"
    )
    check_files: bool = Field(default=True, description="look at the permissions of the configuration files")
    salt_file: Path = Field(
        default=Path(".autocoder/assessments.salt"), description="where the key of the hashes is kept"
    )

    async def open(self) -> None:
        inventory = None if self.inventory is None else frozenset(self.inventory)
        self._options = RuleOptions(salt=_salt(self.salt_file), inventory=inventory, check_files=self.check_files)

    def process(self, check: Check, /) -> Outcome:
        return _judge(check, check_security, self._options)


def _salt(file: Path) -> bytes:
    """The key of this installation; two processes that start together agree on the one that was written first."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(SALT_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            if not file.exists():
                _link(own, file)
        finally:
            own.unlink(missing_ok=True)
        salt = file.read_bytes()
    except OSError as error:
        raise SaltError(
            f"the key of the hashes cannot be kept in {file} ({error.strerror}); give another salt_file, or a working "
            "folder that can be written to"
        ) from error
    if len(salt) < SALT_BYTES:
        raise SaltError(
            f"{file} holds {len(salt)} bytes where {SALT_BYTES} are wanted; delete it to have a new one made"
        )
    return salt


def _link(own: Path, file: Path) -> None:
    """Give the new key its name unless another process was first; a file system without links only has a rename."""
    try:
        os.link(own, file)
    except FileExistsError:
        return
    except OSError:
        own.replace(file)
