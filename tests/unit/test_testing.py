"""What users' own tests run their workers with."""

import asyncio
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from callboard.actors import Discard, Error, ProcessEnd, Worker, task
from callboard.actors.errors import CallboardError, InvalidOption, TaskNotFound
from callboard.actors.handlers import Launched, TaskContext
from callboard.actors.samples import CPUProcess, SendEmail
from callboard.actors.testing import Queue, perform

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


@task(max_retries=1, name="count", timeout="5s")
def count(context: dict[str, Any], ctx: TaskContext) -> Any:
    ctx.log.info("attempt %d of %s", ctx.attempt, ctx.type)
    if ctx.attempt <= context.get("failures", 0):
        raise ValueError("not yet")
    return {"n": ctx.attempt}


class Hooked(Worker):
    def __init__(self) -> None:
        self.told: list[str] = []

    def perform(self, task: TaskContext) -> Any:
        if "wrong" in task.context:
            return Discard("wrong")
        return self.told

    def after_error(self, task: TaskContext, error: BaseException | Error | Discard) -> None:
        self.told.append(str(error))


def test_one_attempt_is_performed_with_its_context() -> None:
    done = perform(count, {"failures": 1}, attempt=2)
    assert (done.completed, done.result) == (True, {"n": 2})
    assert done.logs[0].endswith("info attempt 2 of test")


def test_a_failure_is_told_and_not_raised() -> None:
    failed = perform(count, {"failures": 1})
    assert (failed.completed, failed.kind, failed.message) == (False, "error", "ValueError: not yet")
    assert "raise ValueError" in (failed.traceback or "")
    assert perform(Hooked, {"wrong": 1}).discarded
    assert perform(lambda _context: object()).kind == "returned"
    assert perform(lambda _context: 1, strict=True).kind == "returned"


def test_a_context_is_what_json_makes_of_it() -> None:
    assert perform(lambda context: context, {"a": (1, 2)}).result == {"a": [1, 2]}
    with pytest.raises(TypeError):
        perform(lambda context: context, {"a": object()})


def test_a_queue_is_drained_with_its_retries_in_no_time() -> None:
    queue = Queue(count, max_retries=9, backoff={"base": "1h"})
    task_ = queue.enqueue({"failures": 1})
    assert (task_.type, task_.state, task_.max_retries, task_.timeout_ms) == ("count", "available", 1, 5_000)
    (ended,) = queue.drain()
    assert (ended.state, ended.attempt, ended.result) == ("completed", 2, {"n": 2})
    assert [error["message"] for error in ended.errors] == ["ValueError: not yet"]
    assert ended.started_at is not None
    assert ended.started_at - task_.created_at >= 3_600 * 1_000_000
    assert ended.logs[0].endswith("attempt 2 of count")


def test_a_task_dies_when_its_retries_are_used_up() -> None:
    queue = Queue(count)
    task_id = queue.enqueue({"failures": 5}).id
    queue.drain()
    assert (queue.get(task_id).state, queue.get(task_id).attempt) == ("dead", 2)


def test_without_waiting_only_what_is_due_is_run() -> None:
    queue = Queue(types={"count": count, "hooked": Hooked})
    later = queue.enqueue(type="count", delay="1m")
    now = queue.enqueue(type="hooked")
    assert [task.id for task in queue.drain(wait=False)] == [now.id]
    assert queue.get(later.id).state == "scheduled"
    assert len(queue.drain()) == 2


def test_many_tasks_run_in_their_order() -> None:
    ran: list[int] = []
    queue = Queue(lambda context: ran.append(context["n"]))
    for n in range(600):
        queue.enqueue({"n": n}, priority=n % 2)
    queue.drain()
    assert ran == [*range(1, 600, 2), *range(0, 600, 2)]
    assert len(queue.tasks()) == 600


def test_options_are_checked_as_in_a_server() -> None:
    with pytest.raises(InvalidOption, match="unknown type"):
        Queue(count).enqueue(type="cuont")
    with pytest.raises(InvalidOption, match="concurency"):
        Queue(count, concurency=1)


def test_a_full_queue_refuses_as_in_a_server() -> None:
    queue = Queue(count, max_length=1)
    first = queue.enqueue()
    with pytest.raises(CallboardError, match="max_length"):
        queue.enqueue()
    assert [task.id for task in queue.tasks()] == [first.id]
    queue.drain()
    assert queue.enqueue().state == "available"


def test_a_task_that_was_never_submitted_is_not_found() -> None:
    with pytest.raises(TaskNotFound, match="none of mine"):
        Queue(count).get("none of mine")


def test_the_samples_can_be_run(tmp_path: Path) -> None:
    mail = {"sendTo": "a@b.c", "sendFrom": "d@e.f", "subject": "hello"}
    assert Path(perform(SendEmail, mail, data_dir=tmp_path).result["file"]).exists()
    queue = Queue(CPUProcess, max_retries=0)
    queue.enqueue()
    assert [task.state for task in queue.drain()] == ["dead"]


def test_async_handlers_leave_no_loop_open() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def work(_ctx: TaskContext) -> None:
        loops.append(asyncio.get_running_loop())

    assert perform(work).completed
    queue = Queue(work)
    for _ in range(2):
        for _ in range(3):
            queue.enqueue()
        assert all(task.state == "completed" for task in queue.drain())
    assert all(loop.is_closed() for loop in loops)
    assert (len(loops), len(set(loops))) == (7, 3)  # one for what is performed alone, and one for each time


def test_a_process_is_waited_for() -> None:
    class Starts(Worker):
        def perform(self, task: TaskContext) -> Any:
            return Launched(subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"]))

        def after_async(self, task: TaskContext, outcome: ProcessEnd) -> Any:
            return {"exit": outcome.exit_code, "ok": outcome.ok}

    assert perform(Starts).result == {"exit": 5, "ok": False}


def test_logging_is_left_as_it_was() -> None:
    before = (logging.root.handlers[:], logging.getLogger("callboard.task").level)
    perform(count)
    assert (logging.root.handlers, logging.getLogger("callboard.task").level) == before


def test_the_documents_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, tests = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)[:2]
    module = ModuleType("shop")
    exec(compile(shop, "shop.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "shop", module)
    names: dict[str, Any] = {}
    exec(compile(tests, "test_shop.py", "exec"), names)
    examples = [example for name, example in names.items() if name.startswith("test_")]
    assert len(examples) >= 3
    for example in examples:
        example()


def test_attempts_are_another_spelling_of_retries() -> None:
    queue = Queue(fails, max_attempts=2)
    given_up, longer = queue.enqueue(), queue.enqueue(max_attempts=3)
    queue.drain()
    assert [(queue.get(task.id).state, queue.get(task.id).attempt) for task in (given_up, longer)] == [
        ("dead", 2),
        ("dead", 3),
    ]


def fails(_context: dict[str, Any]) -> None:
    raise ValueError("always")


def test_options_that_can_not_be_are_named() -> None:
    with pytest.raises(InvalidOption, match="bad: unknown option") as refused:
        Queue(fails, bad=1)
    assert refused.value.field == "bad"
    with pytest.raises(InvalidOption, match="unknown option max_retrys"):
        Queue(fails).enqueue(max_retrys=1)  # type: ignore[call-arg]
