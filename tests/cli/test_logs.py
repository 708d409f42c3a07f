"""Logging to stderr: levels, forms, and no secret."""

from __future__ import annotations

import json
import logging

import pytest

from autocoder.cli.logs import configure_logging


def test_text_names_the_level_and_loggers_that_are_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    logging.getLogger("autocoder.pipeline").info("ours")
    logging.getLogger("autocoder.pipeline").debug("not asked for")
    logging.getLogger("somebody.else").warning("theirs")
    logging.getLogger("somebody.else").info("too much")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "info: ours\nwarning: somebody.else: theirs\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_in_messages_and_in_tracebacks(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging("info", form, {"s3cr3t-word"})
    try:
        raise ValueError("s3cr3t-word in an error")
    except ValueError:
        logging.getLogger("autocoder").exception("saying %s", "s3cr3t-word")
    logging.getLogger("autocoder").info("postgresql://me:pass-word@host/name")
    err = capsys.readouterr().err
    assert "saying ***" in err
    assert "*** in an error" in err
    assert "s3cr3t-word" not in err
    assert "pass-word" not in err


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    logging.getLogger("autocoder.store").debug("two\nlines")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {"level": "debug", "logger": "autocoder.store", "message": "two\nlines"}


def test_the_last_configuration_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    configure_logging("error", "text")
    logging.getLogger("autocoder").warning("hidden")
    logging.getLogger("autocoder").error("shown")
    assert capsys.readouterr().err == "error: shown\n"


def test_secrets_that_become_known_later_are_masked_from_then_on(capsys: pytest.CaptureFixture[str]) -> None:
    secrets: set[str] = set()
    configure_logging("info", "text", secrets)
    secrets.add("s3cr3t-word")
    logging.getLogger("somebody.else").warning("using %s", "s3cr3t-word")
    assert capsys.readouterr().err == "warning: somebody.else: using ***\n"
