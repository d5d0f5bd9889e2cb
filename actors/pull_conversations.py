"""Say what the HTTP clients ask for as consumers, and what they make of the answers; `conversation.py` does the asking."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from callboard.actors.answers import read_task
from callboard.actors.claimed import Claimed, ClaimedTask, check_max, lease_ms
from callboard.actors.conversation import Ask, Asker, Conversation, list_bodies
from callboard.actors.errors import InvalidOption, StaleClaim
from callboard.actors.request import Duration, milliseconds
from callboard.actors.request_values import check_key, check_text
from callboard.actors.task import Task
from callboard.actors.task_ids import path_part

ACKS: Final = 1_000
ACKS_BYTES: Final = 768 * 1024
"""The server takes 1,000 acks and, unless it is told otherwise, 1 MiB a request."""


@dataclass(frozen=True, slots=True)
class PullConversations:
    """Hold a consumer's conversations with one server. wait_seconds: how long one request is held."""

    asker: Asker
    clock: Callable[[], float]
    wait_seconds: float

    def dequeue(
        self, queue: str, *, wanted: int, lease: Duration, wait: Duration, consumer: str, key: str
    ) -> Conversation[list[ClaimedTask]]:
        """Fetch tasks. Sent again under the same key, it gets the same."""
        check_text(queue, "queue")
        check_key(key)
        path = f"/api/queues/{quote(queue, safe='')}/dequeue"
        body: dict[str, Any] = {"max": check_max(wanted), "lease_ms": lease_ms(lease), "consumer": consumer}
        until = self.clock() + milliseconds(wait, "wait") / 1_000
        while True:
            held = min(self.wait_seconds, max(0.0, until - self.clock()))
            content = plain({**body, "wait_ms": round(held * 1_000)}, "consumer")
            answer = yield from self.asker.ask(Ask("POST", path, body=content, key=key, held=held))
            tasks = [ClaimedTask.of(read_task(shown), shown["claim"]) for shown in answer["data"]]
            if tasks or self.clock() >= until:
                return tasks

    def ack(self, task: Claimed, result: Any) -> Conversation[Task]:
        """Complete a task; repeated, it is still completed once."""
        return self._say(task, "ack", {"result": result})

    def fail(self, task: Claimed, error: str, *, discard: bool) -> Conversation[Task]:
        """End an attempt that has failed."""
        return self._say(task, "fail", {"error": error, "discard": discard}, settled=StaleClaim.STATE)

    def heartbeat(self, task: Claimed, lease: Duration) -> Conversation[Task]:
        """Renew a lease."""
        return self._say(task, "heartbeat", {"lease_ms": lease_ms(lease)})

    def ack_many(self, ends: Sequence[tuple[Claimed, Any]]) -> Conversation[list[str]]:
        """Complete tasks in as few requests as the server takes."""
        acks = [plain({"claim": task.claim, "result": result}, "result") for task, result in ends]
        outcomes: list[str] = []
        for body in list_bodies("acks", acks, ACKS, ACKS_BYTES):
            answer = yield from self.asker.ask(Ask("POST", "/api/tasks/ack", body=body))
            outcomes += [shown["outcome"] for shown in answer["data"]]
        return outcomes

    def _say(self, task: Claimed, verb: str, said: dict[str, Any], settled: str = "") -> Conversation[Task]:
        path = f"/api/tasks/{path_part(task.id)}"
        body = plain({"claim": task.claim, **said}, next(iter(said)))
        answer = yield from self.asker.ask(Ask("POST", f"{path}/{verb}", body=body, task_id=task.id, settled=settled))
        if answer is None:
            answer = yield from self.asker.ask(Ask("GET", path, task_id=task.id))
        return read_task(answer["data"])


def plain(body: dict[str, Any], field: str) -> bytes:
    """Write JSON, or raise `InvalidOption` that blames the field in which there may be anything."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"can't be written as JSON: {error}", field=field) from None
