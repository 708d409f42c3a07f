"""Where an assessment ends: report files, the results' tables, the standard output."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Final, Literal

import anyio.to_thread
from pydantic import Field
from sqlalchemy.schema import CreateIndex, CreateTable

from autocoder import AutocoderError, Sink, Statement
from autocoder_components.assessments.lifecycle.wanted import all_count
from autocoder_components.assessments.model import Assessment, Report, ReportFormat
from autocoder_components.assessments.reports.publish import PublishError, cure_of, publish
from autocoder_components.assessments.reports.rendering import RENDER
from autocoder_components.assessments.reports.table import show_table
from autocoder_components.assessments.tables import metadata, save_statements

LAST_WRITTEN: Final = 1000
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_DOUBLE: Final = "|".join({each.suffix.split(".")[1] for each in ReportFormat if each.suffix.count(".") > 1})
# `x.legacy` as JSON is `x` in the legacy form; a hash at the end is how other names are kept apart.
_LIKE_ANOTHER: Final = re.compile(rf"(?i)\.(?:{_DOUBLE})$|-[0-9a-f]{{8}}$")


class WriteReports(Sink[Report]):
    """Write each report to a file, whole or not at all; none of an attempt whose verdict does not count.

    A folder that cannot be written to is refused before anything is assessed, a full disk when it is met; either stops the
    pipeline. The folder is made for the first report.

    ```yaml
    reports: {use: assessments.WriteReports, from: render, with: {folder: reports, name: "{id}"}}
    ```
    """

    folder: Path = Field(default=Path("reports"), description="made where it does not exist")
    name: str = Field(
        default="report",
        min_length=1,
        description="the files' name without suffix; {id} stands for the assessment's id, and without it each assessment "
        "replaces the reports of the one before",
    )
    early: bool = Field(
        default=True, description="false: a folder that cannot be written to matters only when a report comes"
    )

    def absorbs_repeats(self) -> bool:
        """Written again, a report takes the place of the same report."""
        return True

    async def open(self) -> None:
        self.written: deque[Path] = deque(maxlen=LAST_WRITTEN)
        if self.early:
            _refuse_unwritable(self.folder)

    async def write(self, batch: Sequence[Report], /) -> None:
        counts = await all_count([(each.assessment_id, each.attempt) for each in batch])
        _make_folder(self.folder)
        for report in compress(batch, counts):
            name = self.name.replace("{id}", _file_name(report.assessment_id))
            path = self.folder / f"{name}{report.format.suffix}"
            # In a thread, which a cancellation waits for: a report is whole or not there.
            await anyio.to_thread.run_sync(publish, path, report.text)
            self.written.append(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise PublishError(folder, "it is no folder", "choose another folder for the reports") from None
    except OSError as error:
        raise PublishError(folder, error.strerror or str(error), cure_of(error)) from error
    _refuse_unwritable(folder)


def _refuse_unwritable(folder: Path) -> None:
    """Raise PublishError where the folder cannot be written to, or could not be made. Makes nothing."""
    there = next((each for each in (folder, *folder.absolute().parents) if os.path.lexists(each)), folder)
    if not there.is_dir():
        what = "it is no folder" if there == folder else f"{there} is no folder"
        raise PublishError(folder, what, "choose another folder for the reports")
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        said = os.strerror(errno.EROFS)
        raise PublishError(folder, said, cure_of(OSError(errno.EROFS, said)))
    if not os.access(there, os.W_OK | os.X_OK):
        cure = "make the folder writable for this user, or choose another one for the reports"
        raise PublishError(folder, "the folder cannot be written to", cure)


def _file_name(text: str) -> str:
    """An id as part of a file's name; where characters had to go, or another one could have that name, a hash is added.

    A name has at most 255 bytes, and letters have up to four.
    """
    if _PLAIN.fullmatch(text) and not _LIKE_ANOTHER.search(text):
        return text
    plain = "".join(each if each.isalnum() or each in "-_." else "_" for each in text.lstrip("."))
    return f"{plain.encode()[:100].decode(errors='ignore')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class SaveResults(Sink[Assessment]):
    """Keep each assessment in the pipeline's own database: its numbers, its findings and the whole report.

    Saved twice it is there once. The tables `assessment_results` and `assessment_findings` are made where they are missing.
    Of a request that says `saveResults: false` only the numbers are kept.

    ```yaml
    results: {use: assessments.SaveResults, from: route.results}
    ```
    """

    with_report: bool = Field(default=True, description="false: the row keeps the numbers and findings, no report")

    async def open(self) -> None:
        self._tables_made = False

    def statements(self, batch: Sequence[Assessment], /) -> Iterator[Statement]:
        if not self._tables_made:
            for table in metadata.sorted_tables:
                yield Statement(CreateTable(table, if_not_exists=True))
                for index in sorted(table.indexes, key=lambda each: str(each.name)):
                    yield Statement(CreateIndex(index, if_not_exists=True))
            self._tables_made = True
        for assessment in batch:
            for statement, rows in save_statements(assessment, with_report=self.with_report):
                yield Statement(statement, rows)


class PrintError(AutocoderError, OSError):
    """The standard output takes no more; an OSError, so that it stops a pipeline as a full disk does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the assessment was not printed: {error.strerror}; free some space where stdout leads, or lead it elsewhere"
        )


class PrintReport(Sink[Assessment]):
    """Print each assessment on the standard output, as a table for people or in the form of a report.

    A reader that has had enough (`| head`) stops nothing: the rest is not printed, but kept and judged like the others.

    ```yaml
    show: {use: assessments.PrintReport, from: route.results, with: {format: table}}
    ```
    """

    format: Literal["table", "json", "sarif", "html", "oscal", "legacy", "none"] = Field(
        default="table", description="what is printed; none: nothing, for a pipeline that only keeps"
    )
    keep: bool = Field(default=False, description="keep what was printed, for the program that runs the pipeline")

    async def open(self) -> None:
        self.printed: list[Assessment] = []

    def write(self, batch: Sequence[Assessment], /) -> None:
        for assessment in batch:
            try:
                self._print(assessment)
            except BrokenPipeError:
                _print_no_more()
            except OSError as error:
                _print_no_more()
                raise PrintError(error) from error
            if self.keep:
                self.printed.append(assessment)

    def _print(self, assessment: Assessment) -> None:
        if self.format == "table":
            show_table(assessment, sys.stdout)
        elif self.format != "none":
            _print_document(RENDER[ReportFormat(self.format)](assessment))
        sys.stdout.flush()


def _print_no_more() -> None:
    """What is still in the buffer would fail again when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_document(text: str) -> None:
    """A document is UTF-8, whatever the locale says of this program's output; a terminal gets what it can show."""
    text = text if text.endswith("\n") else f"{text}\n"
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
