"""Commands to a real server."""

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.polling import eventually
from tests.support.running import ROOT
from tests.support.serving import CALLBOARD, Server, callboard

SLEEPER = "callboard.actors.samples:Sleep"
UNKNOWN = "0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "var") as running:
        yield running


def ended_dead(server: Server) -> str:
    """Have a task fail for good, and return its id."""
    done = server.type("enqueue", "default", "--type", "CPUProcess", "--max-retries", "0", "--wait", "--json")
    assert done.code == 1
    task_id: str = done.json["id"]
    return task_id


def state_of(server: Server, task_id: str) -> str:
    state: str = server.type("show", task_id, "--json").json["state"]
    return state


def test_serve_prints_one_line_with_its_address(server: Server) -> None:
    assert server.ready_line == f"Callboard is ready on {server.runtime().http} (data in {server.data_dir})"


def test_enqueue_prints_the_id_and_the_task_runs(server: Server) -> None:
    submitted = server.type("enqueue", "sleep", "--context", '{"timeout": 1}')
    assert (submitted.code, submitted.err) == (0, "")
    eventually(lambda: state_of(server, submitted.out.strip()) == "completed", every=0.05)


def test_enqueue_takes_every_option(server: Server) -> None:
    options = ["--type", SLEEPER, "--priority", "high", "--max-retries", "7", "--backoff-ms", "250", "--delay", "1h"]
    task = server.type("enqueue", "sleep", "--context", "-", *options, "--json", stdin='{"größe": [1, null]}').json
    expected = {
        "type": SLEEPER,
        "priority": "high",
        "max_retries": 7,
        "backoff_ms": 250,
        "state": "scheduled",
        "context": {"größe": [1, None]},
        "created_by": "cli",
    }
    assert {name: task[name] for name in expected} == expected
    assert server.type("enqueue", "sleep", "--max-attempts", "8", "--delay", "1h", "--json").json["max_retries"] == 7
    stored = server.type("show", task["id"], "--json").json
    assert stored == task
    assert server.type("cancel", task["id"]).out == f"{task['id']} cancelled\n"


def test_what_no_encoding_can_write_is_escaped(server: Server) -> None:
    odd = {"name": "\ud800 größe", "colour": "\x9b31m"}
    task_id = server.type("enqueue", "sleep", "--context", json.dumps(odd), "--delay", "1h").out.strip()
    listed = callboard("tasks", "--limit", "1", "--json", data_dir=server.data_dir)
    assert (listed.code, listed.err, listed.json[0]["context"]) == (0, "", odd)
    shown = callboard("show", task_id, "--json", data_dir=server.data_dir)
    assert (shown.code, shown.err, shown.json["context"]) == (0, "", odd)
    shown = callboard("show", task_id, data_dir=server.data_dir)
    assert (shown.code, shown.err) == (0, "")
    assert r'{"name": "\ud800 größe", "colour": "\x9b31m"}' in shown.out
    assert server.type("cancel", task_id).code == 0


def test_an_id_may_be_written_in_any_way(server: Server) -> None:
    task_id = ended_dead(server)
    written = f"{{{task_id.upper()}}}"
    assert server.type("show", written, "--json").json["id"] == task_id
    assert server.type("dead", "retry", written, "--json").json == {"matched": 1, "changed": 1}
    eventually(lambda: state_of(server, task_id) == "dead", every=0.05)
    assert server.type("dead", "purge", written, "--yes", "--json").json == {"matched": 1, "changed": 1}
    assert server.type("show", "nonsense").err == "callboard: no task has the id nonsense\n"


def test_enqueue_can_wait_for_the_end(server: Server) -> None:
    done = server.type("enqueue", "sleep", "--context", '{"timeout": 1}', "--wait")
    assert done.code == 0
    assert "state:       completed" in done.out


def test_waiting_for_a_task_that_dies_ends_with_1(server: Server) -> None:
    done = server.type("enqueue", "default", "--type", "CPUProcess", "--max-retries", "0", "--wait")
    assert done.code == 1
    assert "fails on purpose" in done.out
    assert done.err.rstrip().endswith("ended dead")


REFUSED = [
    # what the server refuses: arguments after enqueue, what is said
    (["slep"], "unknown queue 'slep': did you mean sleep?"),
    (["default"], "the queue has the types SendEmail, GenerateReport, CPUProcess"),
    (["default", "--type", "sendmail"], "did you mean SendEmail?"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_the_server_refuses_ends_with_1(server: Server, arguments: list[str], said: str) -> None:
    refused = server.type("enqueue", *arguments)
    assert (refused.code, refused.out) == (1, "")
    assert said in refused.err
    assert refused.err.count("\n") == 1


def test_show_prints_every_attempt_with_its_traceback(server: Server) -> None:
    shown = server.type("show", ended_dead(server)).out
    assert "attempt 1 at " in shown
    assert ": error\n" in shown
    assert "RuntimeError: CPUProcess fails on purpose" in shown
    assert "Traceback (most recent call last)" in shown


def test_tasks_are_listed_newest_first_and_filtered(server: Server) -> None:
    ids = [server.type("enqueue", "dead_letter").out.strip() for _ in range(3)]
    listed = [task["id"] for task in server.type("tasks", "--queue", "dead_letter", "--json").json]
    assert listed[:3] == ids[::-1]
    assert len(server.type("tasks", "--queue", "dead_letter", "--limit", "2", "--json").json) == 2
    assert server.type("tasks", "--queue", "dead_letter", "--state", "executing", "--json").json == []
    table = server.type("tasks", "--queue", "dead_letter", "--limit", "1").out.splitlines()
    assert table[0].split()[:4] == ["ID", "QUEUE", "TYPE", "STATE"]
    assert table[1].split()[:2] == [ids[2], "dead_letter"]


def test_retry_and_cancel_report_each_task_and_fail_if_any_could_not_be_changed(server: Server) -> None:
    task_id = server.type("enqueue", "sleep", "--delay", "1h").out.strip()
    done = server.type("cancel", task_id, UNKNOWN)
    assert done.code == 1
    assert done.out == f"{task_id} cancelled\n{UNKNOWN} unchanged: no task has the id {UNKNOWN}\n"
    assert done.err == "callboard: 1 of 2 tasks could not be changed\n"
    again = server.type("cancel", task_id, "--json")
    assert again.code == 1
    assert [(one["changed"], one["state"]) for one in again.json] == [(False, "cancelled")]
    assert server.type("retry", task_id).code == 0
    assert server.type("cancel", task_id).code in {0, 1}  # it may be running or have ended by now


def test_a_running_task_is_killed_by_cancel_and_can_not_be_retried(server: Server) -> None:
    task_id = server.type("enqueue", "sleep", "--context", '{"timeout": 60000}').out.strip()
    eventually(lambda: state_of(server, task_id) == "executing", every=0.05)
    assert "is executing" in server.type("retry", task_id).out
    assert server.type("cancel", task_id).code == 0
    assert state_of(server, task_id) == "cancelled"


def test_dead_tasks_are_listed_put_back_and_deleted(server: Server) -> None:
    server.type("dead", "purge", "--all")
    first, second = ended_dead(server), ended_dead(server)
    assert [task["id"] for task in server.type("dead", "list", "--json").json] == [second, first]
    assert server.type("dead", "retry", first, UNKNOWN).code == 1
    eventually(lambda: state_of(server, first) == "dead", every=0.05)
    assert server.type("dead", "retry", "--queue", "sleep", "--json").json == {"matched": 0, "changed": 0}
    assert server.type("dead", "retry", "--all", "--json").json == {"matched": 2, "changed": 2}
    eventually(lambda: len(server.type("dead", "list", "--json").json) == 2, every=0.05)
    assert server.type("dead", "purge", first).out == "1 dead task deleted\n"
    assert server.type("show", first).code == 1
    assert server.type("dead", "purge", "--queue", "default", "--yes").out == "1 dead task deleted\n"


class Terminal(io.StringIO):
    """Standard input as somebody types it."""

    def isatty(self) -> bool:
        return True


ANSWERS = [
    # typed, exit code, dead tasks that are left
    ("n\n", 1, 1),
    ("", 130, 1),  # Ctrl-D
    ("y\n", 0, 0),
]


@pytest.mark.parametrize(("typed", "code", "left"), ANSWERS)
def test_purge_asks_at_a_terminal(server: Server, typed: str, code: int, left: int) -> None:
    server.type("dead", "purge", "--all")
    ended_dead(server)
    purged = server.type("dead", "purge", "--all", stdin=Terminal(typed))
    assert purged.code == code
    assert "Delete 1 dead tasks for ever?" in purged.err
    assert len(server.type("dead", "list", "--json").json) == left


@pytest.mark.parametrize("typed", ["tasks", "dead list", "dead retry", "dead purge"])
def test_a_misspelt_queue_is_not_taken_for_an_empty_one(server: Server, typed: str) -> None:
    done = server.type(*typed.split(), "--queue", "slep")
    assert (done.code, done.out) == (1, "")
    assert done.err == "callboard: queue: unknown queue 'slep': did you mean sleep?\n"


def test_queues_shows_counts_and_state(server: Server) -> None:
    table = server.type("queues").out.splitlines()
    assert table[0].split()[:3] == ["NAME", "STATE", "BUSY"]
    assert {line.split()[0] for line in table[1:]} >= {"dead_letter", "default", "sleep"}
    queue = server.queue("sleep")
    assert queue["state"] == "running"
    assert queue["settings"]["timeout"].endswith(("s", "m"))


def test_a_queue_lives_from_create_to_delete(server: Server) -> None:
    options = ["--worker", SLEEPER, "--concurrency", "2", "--set", "timeout=5s", "--set", "backoff.base=2s"]
    created = server.type("queue", "create", "reports", *options, "--json").json
    assert created["created"]
    assert (created["settings"]["timeout"], created["settings"]["backoff"]["base"]) == ("5s", "2s")
    assert "exists already" in server.type("queue", "create", "reports", *options).err
    assert server.type("queue", "create", "reports", *options, "--replace").out == "queue reports changed\n"

    assert server.type("queue", "pause", "reports", "--json").json["state"] == "paused"
    waiting = server.type("enqueue", "reports", "--context", '{"timeout": 1}').out.strip()
    assert state_of(server, waiting) == "available"
    refused = server.type("queue", "delete", "reports")
    assert (refused.code, refused.out) == (1, "")
    assert server.type("queue", "resume", "reports").code == 0
    eventually(lambda: state_of(server, waiting) == "completed", every=0.05)

    assert server.type("queue", "scale", "reports", "4", "--json").json["settings"]["concurrency"] == 4
    assert server.type("queue", "drain", "reports", "--json").json["state"] == "draining"
    assert "drain" in server.type("enqueue", "reports").err
    assert server.type("queue", "delete", "reports", "--force").out == "queue reports deleted, with 1 task\n"
    gone = server.type("queue", "pause", "reports")
    assert gone.code == 1
    assert "unknown queue 'reports'" in gone.err


def test_a_queue_whose_worker_can_not_be_imported_is_not_created(server: Server) -> None:
    refused = server.type("queue", "create", "broken", "--worker", "callboard.actors.samples:Nope")
    assert refused.code == 1
    assert "has no Nope" in refused.err
    assert "unknown queue" in server.type("queue", "pause", "broken").err


def test_the_tree_shows_all_processes_and_what_workers_do(server: Server) -> None:
    task_id = server.type("enqueue", "sleep", "--context", '{"timeout": 60000}').out.strip()
    eventually(lambda: state_of(server, task_id) == "executing", every=0.05)
    found = server.type("tree", "--json").json
    roles = ("supervisor", "server", "admin", "logger", "registry", "events")
    pids = [found[role]["pid"] for role in roles]
    pids += [queue["pid"] for queue in found["queues"]]
    pids += [worker["pid"] for queue in found["queues"] for worker in queue["workers"]]
    assert len(set(pids)) == len(pids)
    assert all(map(psutil.pid_exists, pids))
    assert {ident.pid for ident in server.members()} >= set(pids)
    assert all(found[role]["memory"] > 1_000_000 for role in roles)
    drawn = server.type("tree").out
    assert f"with {task_id} for " in drawn
    assert "└── server" in drawn
    assert server.type("cancel", task_id).code == 0


def test_events_are_printed_as_they_happen(server: Server, tmp_path: Path) -> None:
    output = tmp_path / "events"
    command = [*CALLBOARD, "events", "--queue", "sleep", "--limit", "5", "--json", "--data-dir", str(server.data_dir)]
    with output.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file) as following:

        def happened() -> bool:
            # It is subscribed some time after it was started.
            task_id = server.type("enqueue", "sleep", "--context", '{"timeout": 1}', "--wait").out.split()[0]
            return bool(task_id) and following.poll() is not None

        eventually(happened, within=30)
        assert following.returncode == 0
    events = [json.loads(line) for line in output.read_text().splitlines()]
    # It may begin in the middle of a task, but of five events three are those of one.
    begun = [event["event"] for event in events].index("enqueued")
    events = events[begun : begun + 3]
    assert [event["event"] for event in events] == ["enqueued", "started", "completed"]
    assert len({event["correlation_id"] for event in events}) == 1
    again = server.type("events", "--no-follow", "--after", events[0]["id"], "--queue", "sleep", "--limit", "2")
    assert [line.split()[1] for line in again.out.splitlines()] == ["started", "completed"]
    assert events[0]["task_id"] in again.out
    assert "did you mean sleep" in server.type("events", "--queue", "slepp").err


def test_a_second_server_and_a_migration_are_refused_while_one_runs(server: Server) -> None:
    second = callboard("serve", "--port", "0", data_dir=server.data_dir)
    assert (second.code, second.out) == (1, "")
    assert str(server.pid) in second.err
    assert "stop it first" in callboard("migrate", data_dir=server.data_dir).err


def test_a_stopped_server_leaves_its_tasks_to_be_read(tmp_path: Path) -> None:
    with Server(tmp_path / "var") as server:
        task_id = server.type("enqueue", "sleep", "--delay", "1h").out.strip()
        assert server.stop() == 0
        assert state_of(server, task_id) == "scheduled"
        assert server.type("enqueue", "sleep").code == 3
        assert server.type("queues").code == 3
