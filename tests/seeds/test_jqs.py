"""The first seed, JQS, line by line: each test is named for its line of the conformance list."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import Client, processes
from callboard.actors.hand_out import Mark, record
from callboard.actors.task import parse_time
from tests.seeds import jqs
from tests.seeds.curls import seeds_port
from tests.seeds.jqs import CURL, SEED_PORT, SLEEP, busy, played, run_curl
from tests.support import plain_http
from tests.support.killing import kill, stopped
from tests.support.ledger import Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = jqs.CONFIG


@pytest.fixture(scope="module", autouse=True)
def sleepers(server: Server) -> list[str]:
    """Start what takes five seconds first: the seed's own task, and one that doesn't say how long."""
    answer = run_curl(CURL.replace(str(SEED_PORT), str(server.port)))
    return [answer["id"], server.post("/api/tasks", {"queue": "sleep"})["data"]["id"]]


def refused(server: Server, body: dict[str, Any]) -> Any:
    """Return the errors of a body that is answered with 400."""
    answer = plain_http.post(f"{server.url}/api/tasks", json=body)
    assert answer.status_code == 400, answer.text
    return answer.json()["errors"]


def test_jqs_01_a_task_with_nothing_but_its_queue_gets_the_defaults(server: Server) -> None:
    data = server.post("/api/tasks", {"queue": "none"})["data"]
    expected = {"queue": "none", "priority": "low", "context": {}, "max_retries": 3, "backoff_ms": 1000}
    assert data["id"]
    assert {name: data[name] for name in expected} == expected


def test_jqs_02_a_missing_queue_is_refused(server: Server) -> None:
    for body in ({}, {"queue": None}, {"queue": ""}, {"queue": " "}):
        assert refused(server, body)["queue"] == ["can't be blank"]


def test_jqs_03_an_unknown_queue_is_named(server: Server) -> None:
    assert "naps" in refused(server, {"queue": "naps"})["queue"][0]


def test_jqs_04_max_retries_is_an_integer_from_0_to_99(server: Server) -> None:
    for wrong in ("3", 1.5, True, [3], -1, 100):
        errors = refused(server, {"queue": "none", "options": {"max_retries": wrong}})
        assert list(errors["options"]) == ["max_retries"]
    for value in (0, 99):
        assert (
            server.post("/api/tasks", {"queue": "none", "options": {"max_retries": value}})["data"]["max_retries"] == value
        )


def test_jqs_05_a_negative_backoff_is_refused(server: Server) -> None:
    errors = refused(server, {"queue": "none", "options": {"backoff_ms": -1}})
    assert errors == {"options": {"backoff_ms": ["must be greater than or equal to 0"]}}


def test_jqs_06_priority_is_high_low_or_an_integer(server: Server) -> None:
    for value, shown in (("high", "high"), ("low", "low"), (1, "high"), (0, "low"), (7, 7), (-2, -2)):
        assert server.post("/api/tasks", {"queue": "none", "options": {"priority": value}})["data"]["priority"] == shown
    for wrong in ("urgent", 1.5, True, [1]):
        assert list(refused(server, {"queue": "none", "options": {"priority": wrong}})["options"]) == ["priority"]


def test_jqs_07_options_that_are_not_given_have_their_defaults(server: Server) -> None:
    for options in (None, {}, {"max_retries": None}, {"backoff_ms": 1000}):
        data = server.post("/api/tasks", {"queue": "none", "options": options})["data"]
        assert (data["max_retries"], data["backoff_ms"], data["priority"]) == (3, 1000, "low")


def test_jqs_08_the_context_reaches_the_worker_unchanged(server: Server, client: Client) -> None:
    context = {"a": [1, 2.5, None, True, {"b": "ünï\0\U0001f3ad"}], "": {}, "queue": 2**70, "n": -0.0, "deep": [[[[]]]]}
    assert client.wait(client.enqueue("echo", context).id).result == context
    assert client.wait(client.enqueue("echo").id).result == {}
    for wrong in (["text"], "text", 1, None):
        assert list(refused(server, {"queue": "echo", "context": wrong})) == ["context"]


def test_jqs_09_high_goes_before_an_earlier_low_and_equals_go_in_order(client: Client, ledger: Ledger) -> None:
    with busy(client, ledger):
        order = [("a", "low"), ("b", "low"), ("c", "high"), ("d", "low"), ("e", "high")]
        names = {client.enqueue("one", ledger.context(), priority=priority).id: name for name, priority in order}
    for task_id in names:
        client.wait(task_id)
    assert played(ledger, names) == ["c", "e", "a", "b", "d"]


def test_jqs_10_there_are_any_number_of_priorities(client: Client, ledger: Ledger) -> None:
    priorities = [3, -5, 0, 1_000_000, 1, 3, -1_000_000, 12]
    with busy(client, ledger):
        names = {client.enqueue("one", ledger.context(), priority=p).id: f"{p} {i}" for i, p in enumerate(priorities)}
    for task_id in names:
        client.wait(task_id)
    expected = sorted(range(len(priorities)), key=lambda index: (-priorities[index], index))
    assert played(ledger, names) == [f"{priorities[index]} {index}" for index in expected]


def test_jqs_11_one_worker_serves_several_queues(client: Client, ledger: Ledger) -> None:
    tasks = [client.wait(client.enqueue(queue, ledger.context()).id) for queue in ("one", "three", "killed")]
    assert [task.state for task in tasks] == ["completed"] * 3
    assert len({run.pid for run in ledger.runs()}) == 3


def test_jqs_12_so_many_run_at_once_and_an_idle_worker_starts_at_once(client: Client, ledger: Ledger) -> None:
    many = client.enqueue_many([{"queue": "three", "context": ledger.context(ms=30)}] * 12)
    for task in many:
        client.wait(task.id)
    runs = ledger.runs()
    at_once = [sum(run.begun <= other.begun < (run.ended or 0) for run in runs) for other in runs]
    assert max(at_once) == 3
    with busy(client, ledger, "three") as task_id:
        client.wait(client.enqueue("three", ledger.context()).id)
        assert client.get(task_id).state == "executing"


def test_jqs_13_with_concurrency_0_tasks_are_accepted_and_never_started(server: Server, client: Client) -> None:
    task = client.enqueue("none", {}, priority="high")
    client.wait(client.enqueue("echo").id)
    queue = server.queue("none")
    assert (client.get(task.id).state, queue["workers"], queue["state"]) == ("available", [], "running")
    assert queue["counts"]["executing"] == queue["counts"]["completed"] == 0


def test_jqs_14_exceptions_and_returns_that_were_not_agreed_on_are_failures(client: Client, ledger: Ledger) -> None:
    failed = client.wait(client.enqueue("three", ledger.context(failures=9), max_retries=0).id)
    assert (failed.state, failed.errors[0]["kind"]) == ("dead", "error")
    assert failed.errors[0]["message"] == "RuntimeError: as told"
    wrong = client.wait(client.enqueue("strict", {"value": "done"}, max_retries=0).id)
    assert (wrong.state, wrong.errors[0]["kind"]) == ("dead", "returned")
    assert "'done'" in wrong.errors[0]["message"]
    for agreed, result in (({}, None), ({"ok": 7}, 7)):
        right = client.wait(client.enqueue("strict", agreed).id)
        assert (right.state, right.result) == ("completed", result)


def test_jqs_15_a_task_whose_worker_is_killed_is_retried_by_a_fresh_one(client: Client, ledger: Ledger) -> None:
    with busy(client, ledger, "killed") as task_id:
        victim = processes.identify(ledger.running()[0].pid)
        assert victim is not None
        kill(victim)
        eventually(lambda: len(ledger.runs()) == 2)
    task = client.get(task_id)
    assert (task.state, task.attempt, len({run.pid for run in ledger.runs()})) == ("completed", 2, 2)
    assert [(e["kind"], e["exit"], e["charged"]) for e in task.errors] == [("crash", "SIGKILL", True)]


def test_jqs_16_a_pool_whose_workers_are_all_killed_is_whole_again(server: Server, client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    tasks = client.enqueue_many([{"queue": "killed", "context": ledger.context(until=str(end))}] * 6)
    eventually(lambda: len(ledger.running()) == 3)
    workers = server.workers("killed", 3)
    for worker in workers:
        kill(worker)
    end.touch()
    assert [client.wait(task.id).state for task in tasks] == ["completed"] * 6
    assert not set(server.workers("killed", 3)) & set(workers)


def test_jqs_17_a_killed_queue_comes_back_with_its_tasks(server: Server, client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    tasks = client.enqueue_many([{"queue": "killed", "context": ledger.context(until=str(end))}] * 6)
    eventually(ledger.running)
    owner = server.owner("killed")
    kill(owner)
    end.touch()
    assert [client.wait(task.id).state for task in tasks] == ["completed"] * 6
    assert server.owner("killed") != owner


def test_jqs_18_a_retry_waits_its_backoff_without_a_worker_then_joins_the_back(client: Client, ledger: Ledger) -> None:
    failing = client.enqueue("one", ledger.context(failures=1), backoff_ms=500)
    eventually(lambda: client.get(failing.id).state == "retryable")
    client.wait(client.enqueue("one", ledger.context()).id)
    assert client.get(failing.id).state == "retryable"
    names = {failing.id: "retry"}
    with busy(client, ledger):
        names[client.enqueue("one", ledger.context()).id] = "before"
        eventually(lambda: client.get(failing.id).state == "available")
        names[client.enqueue("one", ledger.context()).id] = "after"
        names[client.enqueue("one", ledger.context(), priority="high").id] = "high"
    for task_id in names:
        client.wait(task_id)
    assert played(ledger, names) == ["retry", "high", "before", "retry", "after"]
    task = client.get(failing.id)
    assert task.started_at is not None
    assert task.started_at - parse_time(task.errors[0]["at"]) >= 499_000  # one of the two is told in milliseconds


def test_jqs_19_a_task_runs_once_more_than_it_is_retried(client: Client, ledger: Ledger) -> None:
    for retries in (0, 1, 3):
        task = client.enqueue("three", ledger.context(failures=99), max_retries=retries, backoff_ms=0)
        ended = client.wait(task.id)
        assert (ended.state, ended.attempt, len(ended.errors)) == ("dead", retries + 1, retries + 1)
        assert sum(run.task == task.id for run in ledger.runs()) == retries + 1


def test_jqs_20_an_exhausted_task_is_in_the_dead_letter_and_keeps_its_queue(server: Server, client: Client) -> None:
    dead = client.wait(client.enqueue("strict", {"value": 1}, max_retries=0).id)
    newest = server.get("/api/dead")["data"][0]
    assert (newest["id"], newest["queue"], newest["state"]) == (dead.id, "strict", "dead")
    letter = server.queue("dead_letter")
    assert (letter["settings"]["concurrency"], letter["workers"], letter["state"]) == (0, [], "running")


def test_jqs_21_a_task_for_the_dead_letter_is_accepted_and_never_runs(server: Server, client: Client) -> None:
    task = client.enqueue("dead_letter", {"a": 1})
    client.wait(client.enqueue("echo").id)
    kept = client.get(task.id)
    assert (kept.queue, kept.state, kept.attempt, kept.context) == ("dead_letter", "available", 0, {"a": 1})


def test_jqs_22_a_stale_completion_ends_no_other_task(server: Server, client: Client, ledger: Ledger) -> None:
    with busy(client, ledger) as task_id:
        with closing(sqlite3.connect(f"file:{server.data_dir}/callboard.db?mode=ro", uri=True)) as database:
            (number,) = database.execute("SELECT number FROM hand_outs WHERE queue = 'one'").fetchone()
        worker = server.queue("one")["workers"][0]["name"]
        with (server.data_dir / "run" / "queues" / "one" / f"{worker}.journal").open("ab", buffering=0) as journal:
            for stale in (number - 1, number + 1):
                journal.write(record(stale, 0, Mark.COMPLETED, 1, b'"stolen"'))
        waiting = client.enqueue("one", ledger.context())  # has the owner read the journal
        assert (client.get(task_id).state, client.get(waiting.id).state) == ("executing", "available")
    assert (client.get(task_id).result, client.wait(waiting.id).result) == (None, None)
    assert [run.task for run in ledger.runs()] == [task_id, waiting.id]


def test_jqs_23_the_registry_is_not_asked_for_every_task(server: Server, client: Client) -> None:
    client.enqueue("echo")
    with stopped(server.part("registry")):
        tasks = [client.wait(client.enqueue("echo", {"number": number}).id) for number in range(20)]
    assert [task.result["number"] for task in tasks] == list(range(20))


def test_jqs_24_the_sleep_worker_sleeps_as_told_or_five_seconds(client: Client, sleepers: list[str]) -> None:
    brief = client.wait(client.enqueue("sleep", {"timeout": 50}).id)
    took = []
    for task in (brief, *(client.wait(task_id) for task_id in sleepers)):
        assert task.state == "completed"
        assert task.started_at is not None
        assert task.finished_at is not None
        took.append((task.finished_at - task.started_at) / 1_000)
    assert 50 <= took[0] < 5000 <= min(took[1:])


def test_jqs_25_a_new_kind_of_worker_is_a_class_and_a_line(server: Server, client: Client) -> None:
    assert client.wait(client.enqueue("shout", {"text": "hello"}).id).result == "HELLO"
    answer = plain_http.put(f"{server.url}/api/queues/louder", json={"worker": "tests.seeds.jqs_tasks:Shout"}, timeout=20)
    assert answer.status_code == 201
    assert client.wait(client.enqueue("louder", {"text": "you"}).id).result == "YOU"


def test_jqs_the_curl_line_of_the_document_works_unchanged(tmp_path: Path) -> None:
    server = Server(tmp_path, SLEEP)
    server.port = SEED_PORT
    with seeds_port(SEED_PORT), server, server.client() as client:
        data = run_curl(CURL)
        expected = {"queue": "sleep", "context": {"timeout": 5000}, "max_retries": 2, "backoff_ms": 2000, "priority": "high"}
        assert {name: data[name] for name in expected} == expected
        assert client.wait(data["id"]).state == "completed"
