"""The third seed, JobQueue, line by line: each test is named for its line of the conformance list."""

import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.actors import Client, Task, processes
from callboard.actors.cli.running import run as run_command
from callboard.actors.options import parse_priority
from callboard.actors.processes import Ident
from callboard.actors.task import parse_time
from callboard.conf.sections import BackoffSettings
from tests.seeds.job_queue import configuration
from tests.seeds.jqs import busy, played
from tests.support import plain_http
from tests.support.killing import kill
from tests.support.ledger import Ledger
from tests.support.polling import eventually
from tests.support.server import Server

BIG = {"text": "x" * 200_000}
"""More than a pipe holds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("job_queue")
    with Server(folder, configuration(folder)) as server:
        yield server


def ended(client: Client, queue: str, context: dict[str, Any] | None = None, **options: Any) -> Task:
    """Submit a task and return it when it has ended."""
    return client.wait(client.enqueue(queue, context, **options).id, timeout=40)


def notes(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def running_process(client: Client, task_id: str) -> Ident:
    """Return the process that a task has launched, waiting for it."""
    pid: int = eventually(lambda: client.get(task_id).meta.get("launched", 0))
    ident = processes.identify(pid)
    assert ident is not None
    return ident


def is_gone(ident: Ident) -> bool:
    return not processes.is_alive(ident)


def children(pid: int) -> set[str]:
    """Return the command lines of what runs below a process."""
    return {" ".join(child.cmdline()) for child in psutil.Process(pid).children(recursive=True)}


# ------------------------------------------------------------ queues


def test_job_queue_t01_a_queue_has_its_options_in_its_configuration(server: Server) -> None:
    settings = server.queue("ds")["settings"]
    assert (settings["concurrency"], settings["priority"], settings["poll_interval"]) == (2, 5, "1h")
    assert settings["backoff"]["strategy"] == "linear"
    task = server.post("/api/tasks", {"queue": "ds"})["data"]
    assert (task["priority"], task["backoff"]["strategy"], task["backoff_ms"]) == (5, "linear", 30)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("concurrency = -1", "[queues.ds] concurrency: must be greater than or equal to 0"),
        ('priority = "urgent"', "[queues.ds] priority: must be"),
        ('backoff = { preset = "fibonacci" }', "[queues.ds.backoff] preset: must be"),
        (
            'backoff = { preset = "none", strategy = "fixed" }',
            "[queues.ds] backoff: preset 'none' has a strategy",
        ),
        ('poll_interval = "0s"', "[queues.ds] poll_interval: must be greater than 0"),
        ('worker = "a:b"\ncommand = ["true"]', "[queues.ds] command: can't be given together with worker"),
        ('command = "true"', "[queues.ds] command: must be a list"),
        ('command = [""]', "[queues.ds] command: names no program"),
        ('command = ["echo", "\\u0000"]', "[queues.ds] command[1]: must have no NUL character"),
        ("types = { a = [] }", "[queues.ds.types] a: [] is neither a worker nor a command"),
        ("learned = { a = { max_retries = 1 } }", "ds.learned is what the workers say, and can't be configured"),
    ],
)
def test_job_queue_t01_a_bad_value_stops_the_start_with_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(f"[queues.ds]\n{line}\n")
    assert run_command(["serve", "--config", str(file), "--data-dir", str(tmp_path / "data")]) == 1
    assert said in capsys.readouterr().err


def test_job_queue_t02_an_insert_starts_a_free_worker_at_once(client: Client, ledger: Ledger) -> None:
    # The poll comes once an hour here.
    assert ended(client, "ds", ledger.context()).state == "completed"
    assert ended(client, "ds", ledger.context(), delay="100ms").state == "completed"


def test_job_queue_t03_only_due_tasks_are_taken_by_priority_then_in_order(
    server: Server, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    later = client.enqueue("ds", ledger.context(), priority=1_000, delay="1h").id
    holders = [client.enqueue("ds", ledger.context(until=str(end))).id for _ in range(2)]
    eventually(lambda: len(ledger.running()) == 2)
    waiting = [client.enqueue("ds", ledger.context()).id for _ in range(3)]
    shown = client.get(holders[0])
    assert (shown.state, shown.attempt) == ("executing", 1)
    assert shown.started_at is not None
    assert {client.get(task_id).state for task_id in waiting} == {"available"}
    assert len(ledger.runs()) == 2  # no more than there are workers
    end.touch()
    for task_id in holders + waiting:
        client.wait(task_id)
    with busy(client, ledger, "single"):
        order = [("a", 1), ("b", 2), ("c", 3), ("d", 2), ("e", 1)]
        names = {client.enqueue("single", ledger.context(), priority=priority).id: name for name, priority in order}
    for task_id in names:
        client.wait(task_id)
    assert played(ledger, names) == ["c", "b", "d", "a", "e"]
    assert client.get(later).state == "scheduled"
    assert client.cancel(later).state == "cancelled"


# ------------------------------------------------------------ failures and hooks


def test_job_queue_t04_every_failure_is_kept(client: Client) -> None:
    task = ended(client, "report", max_retries=2)
    assert [error["attempt"] for error in task.errors] == [1, 2, 3]
    for error in task.errors:
        assert (error["kind"], error["message"], error["charged"]) == ("error", "ValueError: no rows", True)
        assert 'raise ValueError("no rows")' in error["traceback"]
        assert parse_time(error["at"]) >= task.created_at


def test_job_queue_t05_max_attempts_come_from_the_class_the_task_or_the_queue(server: Server, client: Client) -> None:
    # The queue says 10, the class 4.
    task = ended(client, "report")
    assert (task.state, task.attempt, len(task.errors), task.max_retries) == ("dead", 4, 4, 3)
    assert (task.priority, task.timeout_ms, task.backoff.base_ms) == (parse_priority("high"), 20_000, 20)
    answer = server.post("/api/tasks", {"queue": "report", "options": {"max_attempts": 2}})["data"]
    assert client.wait(answer["id"]).attempt == 2
    assert client.enqueue("never", {}).max_retries == 3
    answer = server.post("/api/tasks", {"queue": "never", "options": {"max_attempts": 100}})["data"]
    assert answer["max_retries"] == 99
    wrong = plain_http.post(f"{server.url}/api/tasks", json={"queue": "never", "options": {"max_attempts": 101}})
    assert list(wrong.json()["errors"]["options"]) == ["max_attempts"]


def test_job_queue_t05_what_a_class_says_holds_from_the_first_task_on_and_after_a_restart(tmp_path: Path) -> None:
    config = '[queues.tell]\nworker = "tests.seeds.job_queue_tasks:tell"\n'
    expected = {"type": "tell", "max_retries": 6, "timeout_ms": 30_000, "backoff_ms": 15_000}

    def first(server: Server) -> dict[str, Any]:
        data = server.post("/api/tasks", {"queue": "tell"})["data"]
        return {name: data[name] for name in expected}

    with Server(tmp_path, config) as server:
        assert first(server) == expected
        kill(server.owner("tell"))
        assert first(server) == expected
        assert server.stop() == 0
        # No worker of it will ever come up, and the queue's own options have changed.
        server.config.write_text(config + 'max_retries = 1\nstart_timeout = "1ms"\n')
        server.start()
        assert first(server) == expected
        # A queue that is made at run time is told its options before its first task, too.
        answer = plain_http.put(
            f"{server.url}/api/queues/other", json={"worker": "tests.seeds.job_queue_tasks:tell"}, timeout=20
        )
        assert answer.json()["data"]["settings"]["learned"]["tell"]["max_retries"] == 6
        assert server.post("/api/tasks", {"queue": "other", "type": "tell"})["data"]["max_retries"] == 6
        path = "tests.seeds.job_queue_tasks:tell"  # the name by which tasks were stored before it had one of its own
        assert server.post("/api/tasks", {"queue": "other", "type": path})["data"]["max_retries"] == 6


@pytest.mark.parametrize(
    ("do", "message", "told"),
    [
        ("raise", "ValueError: no rows", "no rows"),
        ("return error", "sorry", "Error(message='sorry')"),
        ("discard", "never mind", "Discard(message='never mind')"),
        ("fail", "from deep below", "from deep below"),
    ],
)
def test_job_queue_t06_t07_a_failure_calls_after_error(
    client: Client, tmp_path: Path, do: str, message: str, told: str
) -> None:
    path = tmp_path / "notes"
    task = ended(client, "report", {"do": do, "notes": str(path)}, max_retries=0)
    assert (task.state, task.errors[0]["message"]) == ("dead", message)
    assert notes(path) == ["perform", f"after_error {told}"]


def test_job_queue_t06_a_success_calls_no_hook(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    task = ended(client, "report", {"do": "well", "notes": str(path)})
    assert (task.state, task.result, notes(path)) == ("completed", {"rows": 3}, ["perform"])


def test_job_queue_t07_an_after_error_that_fails_is_logged_and_harmless(client: Client) -> None:
    task = ended(client, "report", {"do": "return error", "worse": True}, max_retries=0)
    assert [(error["kind"], error["message"]) for error in task.errors] == [("error", "sorry")]
    assert any("RuntimeError: it got worse" in line for line in task.errors[0]["logs"])


# ------------------------------------------------------------ launched processes

WAIT = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"


def test_job_queue_t08_a_launched_process_holds_its_slot_until_it_ends(
    server: Server, client: Client, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    first = client.enqueue("launch", {"program": WAIT, "arguments": [str(end)]}).id
    second = client.enqueue("launch", {"program": "pass"}).id
    launched = eventually(lambda: client.get(first).meta.get("launched"))
    assert client.get(first).state == "executing"
    assert client.get(second).state == "available"  # it is one at a time
    (worker,) = eventually(lambda: [w for w in server.queue("launch")["workers"] if w["launched"] == launched])
    assert worker["task"] == first
    assert psutil.Process(launched).ppid() == worker["pid"]
    end.touch()
    task = client.wait(first)
    assert (task.state, task.meta) == ("completed", {})
    assert client.wait(second).state == "completed"


@pytest.mark.parametrize("by_pid", [False, True])
@pytest.mark.parametrize(
    ("verdict", "program", "state", "said"),
    [
        ("ok", "raise SystemExit(3)", "completed", None),  # though it failed
        ("error", "pass", "dead", "ended with 0"),  # though it did not
        ("discard", "pass", "dead", "pointless"),
        (None, "pass", "completed", None),
        (None, "raise SystemExit(3)", "dead", "exit code 3"),
        (None, "import os; os.kill(os.getpid(), 9)", "dead", "signal SIGKILL"),
    ],
)
def test_job_queue_t09_after_async_decides_or_else_the_exit_code(
    client: Client, *, verdict: str | None, program: str, state: str, said: str | None, by_pid: bool
) -> None:
    task = ended(client, "launch", {"program": program, "verdict": verdict, "by pid": by_pid})
    assert task.state == state
    if said is not None:
        assert said in task.errors[0]["message"]
    if verdict == "ok":
        assert task.result == {"exit": 3}


def test_job_queue_t09_a_discard_is_final_and_an_error_is_retried(client: Client) -> None:
    for verdict, attempts in (("discard", 1), ("error", 3)):
        task = ended(client, "launch", {"program": "pass", "verdict": verdict}, max_retries=2, backoff_ms=1)
        assert (task.state, task.attempt) == ("dead", attempts)


def test_job_queue_t10_a_process_that_has_ended_before_is_accounted_for(client: Client) -> None:
    assert ended(client, "launch", {"program": "pass", "ended before": True}).state == "completed"
    task = ended(client, "launch", {"program": "raise SystemExit(7)", "ended before": True})
    assert (task.state, task.errors[0]["exit"]) == ("dead", 7)


def test_job_queue_t08_timeout_and_cancellation_kill_a_launched_process(client: Client, tmp_path: Path) -> None:
    context = {"program": WAIT, "arguments": [str(tmp_path / "never")]}
    for how in ("timeout", "cancel"):
        task = client.enqueue("launch", context, timeout="1s" if how == "timeout" else "1m")
        ident = running_process(client, task.id)
        if how == "cancel":
            client.cancel(task.id)
        found = client.wait(task.id)
        assert (found.state, found.meta) == ("cancelled" if how == "cancel" else "dead", {})
        eventually(partial(is_gone, ident))
    assert ended(client, "launch", {"program": "pass"}).state == "completed"


# ------------------------------------------------------------ backoff


@pytest.mark.parametrize(("queue", "seconds"), [("linear", 15), ("exponential", 16)])
def test_job_queue_t11_a_preset_says_how_long_a_task_waits(client: Client, ledger: Ledger, queue: str, seconds: int) -> None:
    task_id = client.enqueue(queue, ledger.context(failures=9)).id
    eventually(lambda: client.get(task_id).state == "retryable")
    task = client.get(task_id)
    assert task.run_at - parse_time(task.errors[0]["at"]) == seconds * 1_000_000
    assert client.cancel(task_id).state == "cancelled"


def test_job_queue_t11_without_a_wait_a_task_runs_again_at_once(client: Client, ledger: Ledger) -> None:
    assert ended(client, "never", ledger.context(failures=3)).attempt == 4


def test_job_queue_t11_the_presets_have_the_seeds_figures_and_can_be_changed() -> None:
    def waits(**options: Any) -> list[float]:
        backoff = BackoffSettings.model_validate(options).to_backoff()
        return [backoff.delay_ms(attempt, random.Random(0)) / 1_000 for attempt in (1, 2, 3, 10, 50)]

    assert waits(preset="none") == [0, 0, 0, 0, 0]
    assert waits(preset="linear") == [15, 30, 45, 150, 750]
    assert waits(preset="exponential") == [16, 31, 96, 10_015, 6_250_015]
    assert waits(preset="exponential", base="1s", factor=2.0, cap="1m") == [2, 5, 10, 60, 60]
    assert waits(strategy="exponential", base="1s", factor=3.0) == [1, 3, 9, 3600, 3600]


# ------------------------------------------------------------ queues and each other


def test_job_queue_t12_a_queue_in_trouble_does_not_affect_the_others(
    server: Server, client: Client, tmp_path: Path, ledger: Ledger
) -> None:
    assert server.queue("missing")["state"] == "degraded"
    stuck = client.enqueue("launch", {"program": WAIT, "arguments": [str(tmp_path / "end")]}).id
    broken = client.enqueue("missing").id
    assert ended(client, "ds", ledger.context()).state == "completed"
    kill(server.owner("launch"))
    assert ended(client, "ds", ledger.context()).state == "completed"
    assert client.get(broken).state == "available"
    (tmp_path / "end").touch()
    assert client.wait(stuck).state == "completed"


# ------------------------------------------------------------ command workers


def test_job_queue_t14_a_program_gets_the_task_and_gives_the_result(client: Client) -> None:
    task = ended(client, "command", {"a": ["ü", 1]})
    given = task.result["given"]
    assert (task.state, task.result["by"], task.logs) == ("completed", "sh", ["working on it"])
    assert given.pop("deadline") > "2026"
    expected = {"id": task.id, "queue": "command", "type": "command", "context": {"a": ["ü", 1]}}
    assert given == expected | {"attempt": 1, "max_retries": 0}


@pytest.mark.parametrize("program", ["node", "java"])
def test_job_queue_t14_the_program_may_be_in_any_language(client: Client, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    task = ended(client, "command", {"a": 1}, type=program)
    assert (task.state, task.result["by"], task.result["given"]["context"]) == ("completed", program, {"a": 1})
    assert len(task.logs) == 1


@pytest.mark.parametrize(
    ("type_", "kind", "said", "exit_name"),
    [
        ("fails", "error", "it ended with exit code 3: too bad", 3),
        ("signal", "error", "it ended with signal SIGTERM", "SIGTERM"),
        ("text", "returned", "its standard output is not JSON", None),
        ("flood", "returned", "it wrote more than 1,000,000 bytes", None),
        ("script", "error", "can't be started: FileNotFoundError", None),  # its interpreter is not there
    ],
)
def test_job_queue_t14_what_a_program_gets_wrong_is_a_failed_attempt(
    client: Client, type_: str, kind: str, said: str, exit_name: str | int | None
) -> None:
    task = ended(client, "command", type=type_)
    (error,) = task.errors
    assert (task.state, error["kind"], error.get("exit")) == ("dead", kind, exit_name)
    assert said in error["message"]
    if type_ == "fails":
        assert error["logs"] == ["too bad"]


@pytest.mark.parametrize(("type_", "result"), [("deaf", 1), ("silent", None)])
def test_job_queue_t14_a_program_need_neither_read_nor_write(client: Client, type_: str, result: Any) -> None:
    task = ended(client, "command", BIG, type=type_)
    assert (task.state, task.result) == ("completed", result)


def test_job_queue_t14_much_goes_in_and_comes_out(client: Client) -> None:
    assert ended(client, "command", BIG).result["given"]["context"] == BIG


def test_job_queue_t14_a_timeout_ends_a_program_with_all_that_it_has_started(server: Server, client: Client) -> None:
    owner = server.owner("command").pid
    task = client.enqueue("command", type="hangs", timeout="2s")
    eventually(lambda: {"sleep 1000", "sleep 1001"} <= children(owner))
    found = client.wait(task.id)
    assert [(error["kind"], error["logs"]) for error in found.errors] == [("timeout", ["began"])]
    eventually(lambda: not {"sleep 1000", "sleep 1001"} & children(owner))


def test_job_queue_t14_a_program_that_is_not_there_is_the_queues_trouble(server: Server) -> None:
    shown = server.queue("missing")
    assert shown["state"] == "degraded"
    assert "there is no program '/no/such/program'" in shown["why"]


def test_job_queue_t14_no_program_can_be_set_over_http(server: Server) -> None:
    for body in ({"command": ["touch", "/tmp/x"]}, {"types": {"a": ["touch", "/tmp/x"]}}):
        answer = plain_http.put(f"{server.url}/api/queues/evil", json=body, timeout=20)
        assert answer.status_code == 400
        assert "configuration file" in str(answer.json()["errors"])
    assert plain_http.get(f"{server.url}/api/queues/evil").status_code == 404


# ------------------------------------------------------------ what attempts log


def test_job_queue_t04_what_an_attempt_logs_is_kept_with_it(client: Client, tmp_path: Path) -> None:
    task = ended(client, "tell", {"lines": 2})
    assert [line.split(" ", 1)[1] for line in task.logs] == ["info line 0", "info line 1"]
    assert ended(client, "tell", {"lines": 0}).logs == []
    many = ended(client, "tell", {"lines": 300})
    assert (len(many.logs), many.logs[-1].endswith("line 299")) == (200, True)
    failed = ended(client, "tell", {"lines": 1, "fail": True}, max_retries=1, backoff_ms=0)
    assert [[line[25:] for line in error["logs"]] for error in failed.errors] == [["info line 0"]] * 2
    killed = ended(client, "tell", {"lines": 3, "wait": str(tmp_path / "never")}, timeout="1s", max_retries=0)
    assert (killed.errors[0]["kind"], len(killed.errors[0]["logs"])) == ("timeout", 3)


# ------------------------------------------------------------ restarts, age, figures


def test_job_queue_t15_what_was_executing_goes_back_as_interrupted(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with Server(tmp_path, configuration(tmp_path)) as server, server.client() as client:
        task_id = client.enqueue("tell", {"wait": str(end), "lines": 1}).id
        eventually(lambda: client.get(task_id).state == "executing")
        kill(server.part("supervisor"))
        eventually(lambda: not server.processes())
        end.touch()
        server.start()
        task = client.wait(task_id)
        assert (task.state, task.attempt) == ("completed", 2)
        assert [(error["kind"], error["charged"]) for error in task.errors] == [("interrupted", False)]


def test_job_queue_t16_old_ended_tasks_are_removed(tmp_path: Path) -> None:
    config = configuration(tmp_path).replace(
        "[queues.tell]", '[queues.tell]\nretention = { completed = "1ms", dead = "1ms", cancelled = "1h" }'
    )
    with Server(tmp_path, config) as server, server.client() as client:
        gone = [ended(client, "tell").id, ended(client, "tell", {"fail": True}, max_retries=0).id]
        kept = client.cancel(client.enqueue("tell", delay="1h").id).id
        server.stop()
        server.start()  # it cleans up soon after its start, and then once a while
        eventually(lambda: [task["id"] for task in server.tasks("tell")] == [kept])
        assert not set(gone) & {kept}


def test_job_queue_t17_a_queue_shows_what_it_does(server: Server, client: Client, ledger: Ledger) -> None:
    with busy(client, ledger, "never"):
        shown = server.queue("never")
        assert (shown["running"], shown["counts"]["executing"], len(shown["workers"])) == (1, 1, 3)
        assert shown["utilisation"] > 0
        waiting = [client.enqueue("missing").id for _ in range(2)]
        blocked = server.queue("missing")
        assert blocked["counts"]["available"] >= 2
        assert blocked["oldest_age_ms"] >= 0
    for task_id in waiting:
        client.cancel(task_id)
    assert server.queue("never")["counts"]["completed"] >= 1
    assert set(shown["rates"]) == {"submitted", "completed", "failed"}


def test_job_queue_t18_the_tasks_of_a_queue_are_listed_by_its_name(server: Server, client: Client, ledger: Ledger) -> None:
    task = ended(client, "ds", ledger.context())
    listed = server.tasks("ds")
    assert task.id in {found["id"] for found in listed}
    assert {found["queue"] for found in listed} == {"ds"}
