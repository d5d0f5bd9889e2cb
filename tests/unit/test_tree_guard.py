"""Processes of a new actor system that name themselves, or don't; with real processes."""

import multiprocessing
import os
import time
from collections.abc import Iterator

import pytest

from callboard.actors import processes
from callboard.actors.tree_guard import BootFailed, Report, _reap

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def report() -> Iterator[Report]:
    report = Report()
    yield report
    report.close()


def test_whoever_names_itself_is_known_for_certain(report: Report) -> None:
    report.tell("admin")
    report.tell("logger")
    me = processes.identify(os.getpid())
    assert report.collect("admin", "logger") == {"admin": me, "logger": me}


def test_a_process_that_does_not_name_itself_in_time_is_named(report: Report) -> None:
    report.tell("admin")
    with pytest.raises(BootFailed, match=r"did not come up: {'logger'}"):
        report.collect("admin", "logger", within=0.0)


def test_a_process_that_has_named_itself_and_ended_has_not_come_up(report: Report) -> None:
    process = FORK.Process(target=report.tell, args=("admin",))
    process.start()
    process.join()
    with pytest.raises(BootFailed, match=r"did not come up: {'admin'}"):
        report.collect("admin", within=0.0)


def test_a_closed_report_tells_nothing_and_may_be_closed_again(report: Report) -> None:
    report.close()
    report.tell("admin")


def test_a_forerunner_is_collected_when_it_ends() -> None:
    forerunner = FORK.Process(target=time.sleep, args=(0.02,))
    forerunner.start()
    _reap(forerunner)
    assert forerunner.exitcode == 0
