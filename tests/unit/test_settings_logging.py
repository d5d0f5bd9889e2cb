import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from callboard.conf.logging import configure_logging


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Give the test's process its own logging back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()  # pytest's own: configure_logging would close them
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def fail() -> None:
    """Raise an error that was caused by another."""
    known: dict[str, int] = {}
    try:
        known["cause"]
    except KeyError as error:
        raise ValueError("first line\nsecond line") from error


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was written to standard error; nothing goes to standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    return str(err).splitlines()


@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_record_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    configure_logging("info", format_)
    log = logging.getLogger("callboard.test")
    log.info("hello %s\x1b[31m\x85\u2028", "wo\nrld", extra={"task": "a\nb", "list": ["x\ny"]})
    try:
        fail()
    except ValueError:
        log.exception("failed")
    log.warning("where", stack_info=True)
    structlog.get_logger("theirs").info("native", n=1)
    assert len(lines(capsys)) == 4


def test_a_json_record_has_its_fields_and_the_whole_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log = logging.getLogger("callboard.test")
    log.warning("hello %s", "wo\nrld", extra={"task": "7"})
    try:
        fail()
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in lines(capsys))
    assert first["event"] == "hello wo\nrld"
    assert (first["level"], first["logger"], first["task"]) == ("warning", "callboard.test", "7")
    assert first["timestamp"].endswith("Z")
    assert isinstance(first["pid"], int)
    assert "KeyError: 'cause'" in second["exception"]
    assert second["exception"].endswith("ValueError: first line\nsecond line")


def test_the_console_names_an_errors_chain_and_where_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    try:
        fail()
    except ValueError:
        logging.getLogger("callboard.test").exception("failed")
    [line] = lines(capsys)
    assert "failed [callboard.test]" in line
    assert "ValueError: first line" in line
    assert "second line, after KeyError: 'cause'" in line
    assert f"{__name__.rpartition('.')[2]}.py:" in line
    assert " fail < " in line


def test_a_control_character_cannot_forge_a_line_or_a_colour(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    logging.getLogger("callboard.test").info("a\nb\x1b[31m ☃")
    [line] = lines(capsys)
    assert "a\\nb\\x1b[31m ☃" in line


def test_less_severe_records_are_left_out_from_both_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "console")
    logging.getLogger("callboard.test").info("no")
    structlog.get_logger("theirs").info("no")
    logging.getLogger("callboard.test").error("yes")
    structlog.get_logger("theirs").error("yes", n=1)
    assert [" yes " in line for line in lines(capsys)] == [True, True]


def test_configuring_again_replaces_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    configure_logging("info", "json")
    logging.getLogger("callboard.test").info("once")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["once"]


def test_an_error_field_without_an_error_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    logging.getLogger("callboard.test").info("nothing raised", exc_info=True)  # noqa: LOG014 - the mistake is the point
    logging.getLogger("callboard.test").info("an error as it is", exc_info=ValueError("loose"))
    first, second = lines(capsys)
    assert "error=" not in first
    assert "ValueError: loose" in second
    assert sys.exc_info() == (None, None, None)


@pytest.mark.parametrize(("level", "heard"), [("info", ["warning"]), ("debug", ["warning"]), ("error", [])])
def test_what_libraries_say_of_their_own_work_is_left_out(
    capsys: pytest.CaptureFixture[str], level: str, heard: list[str]
) -> None:
    configure_logging(level, "json")
    logging.getLogger("uvicorn.error").info("Application startup complete.")
    logging.getLogger("uvicorn.error").warning("Exceeded", extra={"color_message": "\x1b[31mExceeded"})
    said = [json.loads(line) for line in lines(capsys)]
    assert [record["level"] for record in said] == heard
    assert [record for record in said if "color_message" in record] == []
