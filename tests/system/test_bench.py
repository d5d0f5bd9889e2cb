"""`callboard bench`, with sizes too small to measure anything: that it measures, computes, and cleans up after itself."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.actors import processes
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.report import notes, to_json, to_tables
from callboard.actors.bench.run import Measured, run_bench
from callboard.actors.processes import Ident
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer
from tests.support.serving import CALLBOARD, callboard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TINY = Plan(rounds=2, tasks=250, latency_tasks=3, idle_seconds=0.2, kill_rounds=1, backlog=1_500, backlog_rounds=1)
KILLED = {"worker": 6, "logger": 3, "queue": 6, "registry": 1, "admin": 1, "server": 1, "supervisor": 3}


@pytest.fixture(autouse=True)
def is_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the sake of figures that nobody looks at."""
    monkeypatch.setattr("callboard.actors.bench.listeners.LINGER_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def leaves_nothing(tmp_path: Path) -> Iterator[None]:
    before = running_children()
    yield
    assert eventually(lambda: running_children() <= before)
    assert list(tmp_path.iterdir()) == []


def running_children() -> set[int]:
    """Return the processes below this one; what has ended counts no more, though an earlier test made this a subreaper."""
    running = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            if child.status() != psutil.STATUS_ZOMBIE:
                running.add(child.pid)
    return running


def assert_ratios(ratios: dict[str, dict[str, Any]], names: set[str]) -> None:
    assert set(ratios) == names
    for ratio in ratios.values():
        # What is shown is rounded: of times of some milliseconds little is left.
        assert ratio["ratio"] == pytest.approx(ratio["ours"] / ratio["other"], rel=0.05)
        if ratio["target"] is None:
            assert ratio["met"] is None
        else:
            assert isinstance(ratio["met"], bool)


def cells(measured: Measured) -> set[str]:
    return {str(cell) for table in to_tables(measured) for row in table.rows for cell in row}


def test_speed_is_measured_beside_its_limits(tmp_path: Path) -> None:
    measured = run_bench(TINY, tmp_path, kill=False, memory=False)
    shown = to_json(measured)
    assert set(shown) == {"machine", "speed", "cpu", "ratios", "latency", "memory", "idle_cpu"}
    for figure in (*shown["speed"].values(), *shown["cpu"].values()):
        assert len(figure["rounds"]) == TINY.rounds
        assert 0 <= figure["low"] <= figure["median"] <= figure["high"]
    # The kernel counts processor time in ticks of 10 ms: of so few tasks it may count none.
    assert all(figure["low"] > 0 for figure in shown["speed"].values())
    assert_ratios(shown["ratios"], {"end_to_end", "watched", "single", "single_completed", "end_to_end_large", "drain"})
    assert shown["ratios"]["end_to_end"]["target"] == 0.5
    assert shown["ratios"]["single"]["target"] == 0.25
    assert set(shown["latency"]) == {"accepted", "started", "finished"}
    assert all(0 < value["p50_ms"] <= value["p99_ms"] for value in shown["latency"].values())
    roles = {process["role"] for process in shown["memory"]["processes"]}
    assert roles >= {
        "supervisor",
        "server",
        "admin",
        "logger",
        "registry",
        "queue noop",
        "worker of noop",
        "queue idle",
        "events",
    }
    assert shown["memory"]["total_bytes"] == sum(process["bytes"] for process in shown["memory"]["processes"]) > 0
    assert shown["idle_cpu"]["value"] >= 0
    assert {"draining a backlog", "bare Starlette, one by one, 64 connections"} <= cells(measured)
    assert shown["machine"]["callboard"] in " ".join(notes(measured))


def test_postgresql_is_measured_in_schemas_of_its_own(postgres_server: PostgresServer, tmp_path: Path) -> None:
    database = postgres_server.new_database()
    shown = to_json(run_bench(replace(TINY, rounds=1), tmp_path, kill=False, memory=False, database=database))
    assert_ratios(shown["ratios"], {"end_to_end", "single", "single_completed", "end_to_end_large", "drain", "watched"})
    assert shown["machine"]["store"] == database
    name = database.partition("?")[0].rpartition("/")[2]
    assert postgres_server.ask("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'callboard%'", name) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kills_lose_nothing_and_each_is_timed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = "" if kind == "sqlite" else request.getfixturevalue("postgres_server").new_database()
    measured = run_bench(TINY, tmp_path, kill=True, memory=False, database=database)
    shown = to_json(measured)["kill"]
    assert {role: len(figure["rounds"]) for role, figure in shown["recovery"].items()} == KILLED
    assert all(figure["low"] > 0 for figure in shown["recovery"].values())
    assert shown["kills"] == sum(KILLED.values())
    assert shown["tasks"]["accepted"] > 0
    assert (shown["tasks"]["lost"], shown["tasks"]["doubled"], shown["tasks"]["second_runs"]["unexplained"]) == (0, 0, 0)
    assert measured.recovery is not None
    assert measured.recovery.sound
    assert KILLED.keys() <= cells(measured)


def test_a_large_backlog_is_measured_beside_a_small_one(tmp_path: Path) -> None:
    measured = run_bench(TINY, tmp_path, kill=False, memory=True)
    shown = to_json(measured)["backlog"]
    assert [backlog["waiting"] for backlog in shown["backlogs"]] == [1_000, TINY.backlog]
    assert all(figure["low"] > 0 for backlog in shown["backlogs"] for name, figure in backlog.items() if name != "waiting")
    assert_ratios(shown["ratios"], {"first", "sustained", "queue_restart", "server_start"})
    assert isinstance(shown["more_mib"]["met"], bool)
    assert "growth of the Queue's memory (MiB)" in cells(measured)


def test_the_command_prints_json_alone_and_says_on_standard_error_what_it_does(tmp_path: Path) -> None:
    typed = callboard("bench", "--quick", "--tasks", "200", "--json", "--store", f"sqlite:///{tmp_path}/none.db")
    assert typed.code == 0, typed.err
    assert set(typed.json) >= {"speed", "ratios", "latency"}
    assert str(tmp_path) not in typed.out
    assert "round 1 of 1" in typed.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing_behind_either(tmp_path: Path, number: int) -> None:
    command = [*CALLBOARD, "bench", "--store", f"sqlite:///{tmp_path}/none.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        # From the first step on the server is up.
        assert bench.stderr.readline() == "one task alone ...\n"
        tree = processes.descendants(Ident(bench.pid, psutil.Process(bench.pid).create_time()))
        assert len(tree) >= 8
        bench.send_signal(number)
        out, _ = bench.communicate(timeout=60)
    assert (bench.returncode, out) == (130, "")
    assert not any(map(processes.is_alive, tree))


def test_a_place_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    typed = callboard("bench", "--store", f"sqlite:///{tmp_path}/none/x.db")
    assert typed.code == 1
    assert typed.err == f"callboard: there can't be a folder in {tmp_path}/none: No such file or directory\n"


def test_consumers_are_measured(tmp_path: Path) -> None:
    measured = run_bench(TINY, tmp_path, kill=False, memory=False, pull=True)
    shown = to_json(measured)["pull"]
    assert shown["pulled_batch"]["low"] > 0
    assert len(shown["pulled_single"]["rounds"]) == TINY.rounds
    assert shown["server_cpu_pulled_single"]["unit"] == "us/task"
    assert "fetched and acknowledged in batches of 100, 8 connections" in cells(measured)
