"""Judge, from what tasks wrote down themselves, whether anything was lost, run twice or charged without reason."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from callboard.actors.processes import Ident
from tests.support.ledger import Ledger, Run

MOMENTS_BETWEEN_TWO_FILES = 2
"""A task notes its end a few microseconds before its worker does, and its beginning as much after it. A kill that comes
in between makes a run look ended that was not known to be, or an attempt look charged that had only just begun. Of some
forty processes killed in a test one in ten tests hits one such moment; a mistake would show in far more tasks."""


def assert_exact(tasks: Iterable[Mapping[str, Any]], ledger: Ledger, killed_workers: Iterable[Ident]) -> None:
    """Assert that all tasks are completed, and run, counted and charged as the deaths of processes explain it.

    killed_workers: those that were killed themselves; all others died with a process that was not theirs.
    """
    runs = ledger.runs()
    last_of_process = {run.pid: run for run in runs}
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run)
    killed = {ident.pid for ident in killed_workers}
    at_a_bad_moment = 0
    for task in tasks:
        mine, errors = by_task.pop(task["id"]), task["errors"]
        told = f"{mine} {errors}"
        assert task["state"] == "completed", told
        assert mine[-1].ended is not None, told
        assert task["attempt"] == len(errors) + 1, told
        at_a_bad_moment += abs(len(errors) - len(mine[:-1]))
        for run in mine[:-1]:
            assert last_of_process[run.pid] is run, f"run again though its process went on: {told}"
            at_a_bad_moment += run.ended is not None
        crashes = [error for error in errors if error["kind"] == "crash"]
        interruptions = [error for error in errors if error["kind"] == "interrupted"]
        assert len(crashes) + len(interruptions) == len(errors), told
        assert all(error["charged"] and error["exit"] == "SIGKILL" for error in crashes), told
        assert not any(error["charged"] for error in interruptions), told
        at_a_bad_moment += abs(len(crashes) - sum(run.pid in killed for run in mine[:-1]))
    assert not by_task, f"runs of tasks that nobody has submitted: {by_task}"
    assert at_a_bad_moment <= MOMENTS_BETWEEN_TWO_FILES


def assert_each_once(tasks: Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
    """Assert that there is exactly one task for each of these submissions, told apart by `name` in the context."""
    found = Counter(task["context"]["name"] for task in tasks)
    assert found == Counter(names)
