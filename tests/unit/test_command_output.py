"""How commands print what they show."""

import io
import re
import sys
from dataclasses import replace
from typing import Any

import pytest

from callboard.actors.cli.output import print_fields, print_table
from callboard.actors.cli.queues import STATES, print_queues
from callboard.actors.cli.task_output import _print_errors, print_task
from callboard.actors.cli.tree import _process
from callboard.actors.options import Backoff
from callboard.actors.task import Task, TaskState


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_as_wide_as_the_terminal_but_ids_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    task_id = "0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15"
    print_table(("id", "why"), [(task_id, "a reason that is far too long for what is left of the line")])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert len(lines) > 2
    assert task_id in lines[1]


def test_a_table_that_goes_into_a_file_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "why"), [("a", "word " * 40)])
    (head, row) = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "WHY"]
    assert row.split() == ["a", *["word"] * 40]


def test_the_lines_of_a_field_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"id": "a", "result": "first\nsecond", "type": None, "meta": ""})
    assert capsys.readouterr().out == "id:     a\nresult: first\n        second\nmeta:   \n"


def test_below_the_queues_stands_why_one_is_not_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    def queue(name: str, why: str) -> dict[str, Any]:
        shown = {"name": name, "why": why, "state": "degraded" if why else "running", "settings": None}
        return shown | {"running": 0, "counts": dict.fromkeys(STATES, 0), "oldest_age_ms": None, "rates": {"completed": 0.0}}

    print_queues([queue("fine", ""), queue("broken", "no module \x1b[1m")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["NAME", "fine", "broken"]
    assert lines[3:] == ["broken: no module \\x1b[1m"]


def test_an_error_without_a_traceback_is_shown_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"attempt": 1, "at": "2026-01-01T00:00:00Z", "kind": "crash", "message": "it died", "exit": "SIGSEGV"}
    interrupted = error | {"attempt": 2, "kind": "interrupted", "charged": False, "traceback": "Trace\n  line\n"}
    _print_errors([error, interrupted])
    assert capsys.readouterr().out == (
        "  attempt 1 at 2026-01-01T00:00:00Z: crash, exit SIGSEGV\n    it died\n"
        "  attempt 2 at 2026-01-01T00:00:00Z: interrupted, exit SIGSEGV, not charged\n    it died\n"
        "      Trace\n        line\n"
    )


def test_a_process_that_is_gone_has_no_memory() -> None:
    nobody = 2**22 + 1
    assert _process(nobody) == {"pid": nobody, "memory": None}
    assert _process(None) == {"pid": None, "memory": None}


def test_a_task_is_shown_with_what_each_of_its_attempts_has_logged(capsys: pytest.CaptureFixture[str]) -> None:
    failed: dict[str, Any] = {"attempt": 1, "at": "2026-01-01T00:00:00Z", "kind": "error", "message": "no"}
    failed["logs"] = ["tried", "gave \x1b[1mup"]
    task = Task("a", "mail", "send", TaskState.COMPLETED, 0, {}, 2, 3, Backoff(), 60_000, 0, 0, "", errors=[failed])
    print_task(replace(task, logs=["tried again", "first\nsecond"]))
    *_, shown = capsys.readouterr().out.partition("errors:\n")
    assert shown == (
        "  attempt 1 at 2026-01-01T00:00:00Z: error\n    no\n    logs:\n      tried\n      gave \\x1b[1mup\n"
        "logs:\n  tried again\n  first\n  second\n"
    )
