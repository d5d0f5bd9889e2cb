"""The fifth seed, AsyncTaskProcessor, line by line: each test is named for its line of the conformance list."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openapi_spec_validator import validate

from callboard.actors import Client
from tests.seeds.curls import run_curl, seeds_port
from tests.support import plain_http
from tests.support.ledger import Ledger
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import Server

SEED_PORT = 8080
# As they stand in the seed's document, whose system listens on 8080.
HEALTHZ = "curl --location 'http://localhost:8080/healthz'"
GET_TASK = "curl --location 'http://localhost:8080/task/{taskId}'"
ENQUEUE = """
curl --location 'http://localhost:8080/tasks/enqueue' \\
--header 'Content-Type: application/json' \\
--data-raw '{
  "tasks" : [
    {
      "taskType" : "SendEmail",
      "payload": {
        "sendTo" : ["helloworld@test.com", "helloWorld2@test.com"],
        "sendFrom": "hello1@test.com",
        "subject" : "Hi !",
        "body" : "hope you are well"
      }
    },
    {
      "taskType" : "GenerateReport",
      "priority" : 1,
      "payload" : {
        "notify" : ["helloworld@test.com", "helloWorld2@test.com"],
        "reportType" : "Financial Report"
      }
    },
    {
      "taskType" : "CPUProcess",
      "priority" : 1,
      "payload" : {
        "ProcessType" : "want to fail"
      },
      "backOffDuration" : "5s"
    }
  ]
}'
"""
RETRY = """
curl --location --request POST 'http://localhost:8080/task/e83a5116-0191-462c-8cf7-18c21a3a4939/retry' \\
--data ''
"""
ID_OF_THE_DOCUMENT = "e83a5116-0191-462c-8cf7-18c21a3a4939"
SAMPLES = "callboard.actors.samples"
CONFIG = f"""
[queues.default]
concurrency = 2
backoff = {{ base = "20ms" }}
[queues.default.types]
SendEmail = "{SAMPLES}:SendEmail"
GenerateReport = "{SAMPLES}:GenerateReport"
CPUProcess = "{SAMPLES}:CPUProcess"
Pack = "tests.seeds.async_tasks:Pack"
Ship = "tests.seeds.async_tasks:ship"
Note = "tests.support.ledger:run"
[queues.patient]
worker = "tests.support.ledger:run"
types = {{ Note = "tests.support.ledger:run" }}
concurrency = 1
aging = "300ms"
"""
MAIL = {"sendTo": ["a@test.com"], "sendFrom": "b@test.com", "subject": "Hi"}
FAILING = {"taskType": "CPUProcess", "payload": {"ProcessType": "want to fail"}}
ENQUEUED, FAILED = "Enqueued, awaiting processing", "Failed to process"


def post(server: Server, *tasks: Any) -> httpx2.Response:
    return plain_http.post(f"{server.url}/tasks/enqueue", json={"tasks": list(tasks)}, timeout=30)


def enqueue(server: Server, *tasks: Any) -> list[str]:
    answer = post(server, *tasks)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


def stored(server: Server) -> int:
    return sum(server.queue("default")["counts"].values())


def test_async_01_healthz(server: Server) -> None:
    assert run_curl(HEALTHZ, server.port, of=SEED_PORT).status == 200


def test_async_02_the_curl_line_of_the_document_works(server: Server, client: Client) -> None:
    answer = run_curl(ENQUEUE, server.port, of=SEED_PORT)
    body = json.loads(answer.text)
    assert (answer.status, list(body), body["status"]) == (200, ["tasks", "status"], "All tasks enqueued")
    assert [list(task) for task in body["tasks"]] == [["id", "taskType", "priority", "status"]] * 3
    assert [tuple(task.values())[1:] for task in body["tasks"]] == [
        ("SendEmail", 0, ENQUEUED),
        ("GenerateReport", 1, ENQUEUED),
        ("CPUProcess", 1, ENQUEUED),
    ]
    mail, report, failing = (task["id"] for task in body["tasks"])
    assert client.wait(mail).state == client.wait(report).state == "completed"
    assert client.get(failing).backoff.base_ms == 5_000


def test_async_02_the_documents_lines_work_unchanged_on_its_port(tmp_path: Path) -> None:
    server = Server(tmp_path, CONFIG)
    server.port = SEED_PORT
    with seeds_port(SEED_PORT), server, server.client() as client:
        assert run_curl(HEALTHZ).status == 200
        tasks = json.loads(run_curl(ENQUEUE).text)["tasks"]
        client.wait(tasks[0]["id"])
        shown = run_curl(GET_TASK.replace("{taskId}", tasks[0]["id"]))
        assert (shown.status, json.loads(shown.text)["status"]) == (200, "Processed successfully")
        assert run_curl(RETRY).status == 404


def test_async_02_the_states_of_a_task_in_that_systems_words(server: Server, client: Client, ledger: Ledger) -> None:
    def status(task_id: str) -> Any:
        return server.get(f"/task/{task_id}")["status"]

    end = ledger.path.with_suffix(".end")
    note = {"taskType": "Note", "payload": ledger.context(until=str(end))}
    first, _ = enqueue(server, note, note)
    eventually(lambda: len(ledger.running()) == 2)
    (waiting,) = enqueue(server, {"taskType": "Note", "payload": ledger.context()})
    later = client.enqueue("default", type="Note", context=ledger.context(), delay=600).id
    assert [status(each) for each in (first, waiting, later)] == ["Being processed by worker", ENQUEUED, "Awaiting enqueue"]
    end.touch()
    client.wait(first)
    (failing,) = enqueue(server, FAILING | {"backOffDuration": "1h"})
    eventually(lambda: status(failing) == "Awaiting retry")
    client.cancel(failing)
    assert (status(first), status(failing)) == ("Processed successfully", FAILED)


@pytest.mark.parametrize(
    ("wrong", "said", "errors"),
    [
        ({"payload": {}}, "tasks[1]: taskType can't be blank", {"taskType": ["can't be blank"]}),
        (
            {"taskType": "sendemail"},
            "tasks[1] (sendemail): taskType unknown type 'sendemail' in queue 'default': did you mean SendEmail?",
            {"taskType": ["unknown type 'sendemail' in queue 'default': did you mean SendEmail?"]},
        ),
        (
            FAILING | {"priority": 2},
            "tasks[1] (CPUProcess): priority must be 0 (low) or 1 (high)",
            {"priority": ["must be 0 (low) or 1 (high)"]},
        ),
        (
            FAILING | {"priority": "high"},
            "tasks[1] (CPUProcess): priority must be 0 (low) or 1 (high)",
            {"priority": ["must be 0 (low) or 1 (high)"]},
        ),
        (
            {"taskType": "SendEmail", "payload": {"sendTo": []}},
            "tasks[1] (SendEmail): payload.sendTo can't be blank",
            {"payload": {name: ["can't be blank"] for name in ("sendTo", "sendFrom", "subject")}},
        ),
        (
            {"taskType": "GenerateReport"},
            "tasks[1] (GenerateReport): payload.reportType can't be blank",
            {"payload": {"reportType": ["can't be blank"]}},
        ),
        (
            {"taskType": "CPUProcess", "payload": {"ProcessType": 1}},
            "tasks[1] (CPUProcess): payload.ProcessType must be a text",
            {"payload": {"ProcessType": ["must be a text"]}},
        ),
    ],
)
def test_async_03_and_04_one_wrong_task_keeps_the_batch_out_and_is_named_with_its_field(
    server: Server, wrong: Any, said: str, errors: Any
) -> None:
    before = stored(server)
    answer = post(server, {"taskType": "SendEmail", "payload": MAIL}, wrong)
    body = answer.json()
    assert (answer.status_code, body["error"], body["detail"]) == (400, said, said)
    assert body["errors"] == {"tasks": {"1": errors}}
    assert stored(server) == before


def test_async_04_what_handlers_of_ones_own_lack_is_a_failed_attempt_that_names_it(server: Server, client: Client) -> None:
    for type_, result in (("Pack", 2), ("Ship", 7)):
        good, bad = enqueue(
            server,
            {"taskType": type_, "payload": {"number": 7, "items": ["a", "b"]}},
            {"taskType": type_, "payload": {"number": "x"}},
        )
        assert client.wait(good).result == result
        dead = client.wait(bad)
        assert (dead.state, dead.attempt, dead.errors[0]["kind"]) == ("dead", 4, "error")
        assert dead.errors[0]["message"].startswith(f"InvalidContext: {type_}: number Input should be a valid integer")
        assert "items can't be blank" in dead.errors[0]["message"]


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("5s", 5_000), ("1m30s", 90_000), ("250ms", 250), ("1.5h", 5_400_000), ("0", 0), ("+2s", 2_000), ("1us", 1)],
)
def test_async_05_a_back_off_is_written_as_go_writes_durations(
    server: Server, client: Client, written: str, milliseconds: int
) -> None:
    (task_id,) = enqueue(server, {"taskType": "SendEmail", "payload": MAIL, "backOffDuration": written})
    assert client.get(task_id).backoff.base_ms == milliseconds


@pytest.mark.parametrize("written", ["5", "5 s", "s", "1d", "-5s", "five", 7, "5s1", "1e3s", "1000000h"])
def test_async_05_a_back_off_that_is_none_is_refused(server: Server, written: Any) -> None:
    answer = post(server, FAILING | {"backOffDuration": written})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]["tasks"]["0"]) == ["backOffDuration"]


def test_async_06_the_three_sample_types(server: Server, client: Client) -> None:
    mail, report, failing = enqueue(
        server,
        {"taskType": "SendEmail", "payload": MAIL},
        {"taskType": "GenerateReport", "payload": {"reportType": "default"}},
        FAILING,
    )
    assert Path(client.wait(mail).result["file"]).read_text().count("Subject: Hi") == 1
    assert client.wait(report).result["queue"] == "default"
    assert "fails on purpose" in client.wait(failing).errors[0]["message"]


def test_async_07_a_task_is_shown_in_that_systems_form_and_an_unknown_one_is_404(server: Server, client: Client) -> None:
    (task_id,) = enqueue(server, FAILING | {"priority": 1})
    client.wait(task_id)
    shown = json.loads(run_curl(GET_TASK.replace("{taskId}", task_id), server.port, of=SEED_PORT).text)
    error = shown.pop("error")
    assert shown == {"id": task_id, "taskType": "CPUProcess", "priority": 1, "status": FAILED}
    assert "fails on purpose" in error
    for unknown in (ID_OF_THE_DOCUMENT, "taskId"):
        answer = run_curl(GET_TASK.replace("{taskId}", unknown), server.port, of=SEED_PORT)
        assert (answer.status, json.loads(answer.text)["detail"]) == (404, f"There is no task {unknown}.")


def test_async_08_only_what_has_failed_for_good_is_retried_with_a_fresh_budget(server: Server, client: Client) -> None:
    dead, done = enqueue(server, FAILING, {"taskType": "SendEmail", "payload": MAIL})
    client.wait(dead)
    client.wait(done)
    plain_http.post(f"{server.url}/api/queues/default/pause")
    retry = RETRY.replace(ID_OF_THE_DOCUMENT, dead)
    answer = run_curl(retry, server.port, of=SEED_PORT)
    assert answer.status == 200
    expected = {"id": dead, "taskType": "CPUProcess", "priority": 0, "status": ENQUEUED, "error": None}
    assert json.loads(answer.text) == expected
    again = run_curl(retry, server.port, of=SEED_PORT)
    assert (again.status, json.loads(again.text)["state"]) == (400, "available")
    plain_http.post(f"{server.url}/api/queues/default/resume")
    assert client.wait(dead).attempt == 4
    for wrong, status in ((done, 400), (ID_OF_THE_DOCUMENT, 404)):
        answer = run_curl(RETRY.replace(ID_OF_THE_DOCUMENT, wrong), server.port, of=SEED_PORT)
        assert (answer.status, bool(json.loads(answer.text)["detail"])) == (status, True)


def test_async_09_three_retries_are_four_runs(server: Server, client: Client) -> None:
    (task_id,) = enqueue(server, FAILING)
    task = client.wait(task_id)
    assert (task.state, task.attempt, len(task.errors)) == ("dead", 4, 4)


def test_async_10_address_pool_retries_and_store_are_configured(tmp_path: Path) -> None:
    text = CONFIG.replace("concurrency = 2", "concurrency = 1\nmax_retries = 0\nmax_length = 1", 1)
    text += '[http]\nhost = "127.0.0.2"\n[store]\nurl = "sqlite:///{data_dir}/other.db"\n'
    server = Server(tmp_path, text)
    with server:
        url = f"http://127.0.0.2:{server.port}"
        (task,) = plain_http.post(f"{url}/tasks/enqueue", json={"tasks": [FAILING]}).json()["tasks"]
        with Client(url) as client:
            assert (client.wait(task["id"]).attempt, (server.data_dir / "other.db").exists()) == (1, True)
            (default,) = [queue for queue in client.queues() if queue["name"] == "default"]
            assert (len(default["workers"]), default["settings"]["max_length"]) == (1, 1)


def test_async_12_with_aging_low_priority_is_not_starved(client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    blocking = client.enqueue("patient", ledger.context(until=str(end)))
    low = client.enqueue("patient", ledger.context())
    urgent = [client.enqueue("patient", ledger.context(), priority="high")]
    while urgent[-1].created_at - low.created_at < 400_000:
        urgent.append(client.enqueue("patient", ledger.context(), priority="high"))
    end.touch()
    for task in (blocking, low, *urgent):
        client.wait(task.id)
    order = [run.task for run in ledger.runs()][1:]
    place = order.index(low.id)
    created = {task.id: task.created_at - low.created_at for task in urgent}
    margin = 20_000  # between the making of a task's id and its arrival at its queue
    assert all(created[task_id] < 300_000 + margin for task_id in order[:place])
    assert all(created[task_id] > 300_000 - margin for task_id in order[place + 1 :])
    assert 0 < place < len(order) - 1


def test_async_13_queues_are_added_and_tasks_re_prioritised_while_it_runs(
    server: Server, client: Client, ledger: Ledger
) -> None:
    body = {"worker": "tests.support.ledger:run", "concurrency": 1}
    assert plain_http.put(f"{server.url}/api/queues/added", json=body, timeout=30).status_code == 201
    assert plain_http.put(f"{server.url}/api/queues/added-later", json=body, timeout=30).status_code == 201
    end = ledger.path.with_suffix(".end")
    names = {client.enqueue("added", ledger.context(until=str(end))).id: "first"}
    eventually(ledger.running)
    names |= {client.enqueue("added", ledger.context()).id: name for name in ("a", "b", "c")}
    by_name = {name: task_id for task_id, name in names.items()}
    changed = plain_http.patch(f"{server.url}/api/tasks/{by_name['c']}", json={"priority": "high"})
    assert (changed.status_code, changed.json()["data"]["priority"]) == (200, "high")
    moved = plain_http.patch(f"{server.url}/api/tasks/{by_name['b']}", json={"queue": "added-later"})
    assert (moved.status_code, moved.json()["data"]["queue"]) == (200, "added-later")
    assert client.wait(by_name["b"]).state == "completed"  # beside the busy worker of its old queue
    end.touch()
    for task_id in names:
        client.wait(task_id)
    assert [names[run.task] for run in ledger.runs()] == ["first", "b", "c", "a"]


def test_async_11_tasks_can_be_kept_in_postgresql(postgres_server: PostgresServer, tmp_path: Path) -> None:
    ledger, url = Ledger(tmp_path / "ledger"), postgres_server.new_database()
    with Server(tmp_path, CONFIG, arguments=("--store", url)) as server, server.client() as client:
        first = enqueue(server, *[{"taskType": "Note", "payload": ledger.context()}] * 3)
        assert [client.wait(task_id).state for task_id in first] == ["completed"] * 3
        plain_http.post(f"{server.url}/api/queues/default/pause")
        moved, stays = enqueue(server, *[{"taskType": "Note", "payload": ledger.context()}] * 2)
        elsewhere = {"types": {"Note": "tests.support.ledger:run"}, "concurrency": 1}
        assert plain_http.put(f"{server.url}/api/queues/elsewhere", json=elsewhere, timeout=30).status_code == 201
        assert client.update(moved, queue="elsewhere", priority=3).queue == "elsewhere"
        assert server.stop() == 0
        server.start()
        with server.client() as after:
            assert [after.wait(task_id).state for task_id in (*first, moved)] == ["completed"] * 4
            assert after.get(stays).state == "available"


def test_async_14_a_batch_is_one_transaction(server: Server) -> None:
    with closing(sqlite3.connect(f"file:{server.data_dir}/callboard.db?mode=ro", uri=True)) as database:
        seen = set()
        plain_http.post(f"{server.url}/api/queues/default/pause")
        before = stored(server)
        tasks = [{"taskType": "SendEmail", "payload": MAIL}] * 2_000
        assert len(enqueue(server, *tasks)) == 2_000
        (after,) = database.execute("SELECT COUNT(*) FROM tasks WHERE queue = 'default'").fetchone()
        seen = {created for (created,) in database.execute("SELECT created_at FROM tasks ORDER BY id DESC LIMIT 2000")}
        plain_http.post(f"{server.url}/api/queues/default/resume")
    assert (after - before, len(seen)) == (2_000, 1)


def test_async_15_running_tasks_get_their_grace_and_nothing_is_lost(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG) as server:
        ledger = Ledger(tmp_path / "ledger")
        notes = [{"taskType": "Note", "payload": ledger.context(ms=700)}] * 4
        ids = enqueue(server, *notes)
        eventually(lambda: len(ledger.running()) == 2)
        assert server.stop() == 0
        assert ledger.ended() == 2
        server.start()
        with server.client() as client:
            assert [client.wait(task_id).attempt for task_id in ids] == [1] * 4


def test_async_16_the_openapi_document_has_these_routes(server: Server) -> None:
    document = server.get("/openapi.json")
    validate(document)
    paths = {"/tasks/enqueue": "post", "/task/{id}": "get", "/task/{id}/retry": "post", "/api/event/v1": "post"}
    assert all(method in document["paths"][path] for path, method in paths.items())
    assert document["paths"]["/api/event/v1"]["post"]["responses"]["400"]["content"].keys() == {"text/plain"}


def test_async_17_the_log_is_structured(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG + '[log]\nformat = "json"\n') as server:
        (task_id,) = enqueue(server, FAILING | {"backOffDuration": "0"})
        with server.client() as client:
            client.wait(task_id)
        eventually(lambda: task_id in server.log())
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    (dead,) = [line for line in lines if task_id in line["event"]]
    assert dead["level"] == "warning"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", dead["timestamp"])
