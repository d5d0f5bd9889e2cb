"""The calls of `LocalClient` for consumers: fetch tasks, and say what became of them, by sealed messages."""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from callboard.actors.caller import QueueCaller
from callboard.actors.claimed import DEFAULT_LEASE, Claimed, ClaimedTask, check_max, lease_ms
from callboard.actors.connection import Connection
from callboard.actors.control import Control
from callboard.actors.errors import InvalidOption, RequestRefused, StaleClaim, TaskNotFound
from callboard.actors.leases import Claim
from callboard.actors.messages import (
    ExchangeTasks,
    QueueFound,
    RefusalReason,
    Settled,
    Settlement,
    TasksExchanged,
    Want,
    Word,
    surely,
)
from callboard.actors.options import MAX_CONSUMER
from callboard.actors.pull_conversations import ACKS, plain
from callboard.actors.request import Duration, milliseconds
from callboard.actors.request_values import check_key, check_text
from callboard.actors.runners.call import MAX_MESSAGE_CHARACTERS, MAX_RESULT_BYTES
from callboard.actors.task import Task, TaskState
from callboard.actors.task_ids import existing_id

POLL_SECONDS: Final = 0.01
AGAIN_SECONDS: Final = 0.5
"""What a queue has got without the store being written is found by asking again after so long."""


class LocalPulling:
    """What a consumer calls, as in `Client`."""

    connection: Connection
    control: Control

    def dequeue(
        self,
        queue: str,
        *,
        max: int = 1,  # noqa: A002 - the option's public name
        lease: Duration = DEFAULT_LEASE,
        wait: Duration = 0,
        consumer: str = "",
        idempotency_key: str | None = None,
    ) -> list[ClaimedTask]:
        """Fetch at most `max` tasks, waiting so long for the first of them; [] if there is none."""
        check_text(queue, "queue")
        check_text(consumer, "consumer", blank=True)
        if len(consumer) > MAX_CONSUMER or not consumer.isprintable():
            raise InvalidOption(f"must have at most {MAX_CONSUMER} characters, all printable", field="consumer")
        name = uuid.uuid5(uuid.NAMESPACE_OID, check_key(idempotency_key)) if idempotency_key else uuid.uuid4()
        want = Want(name.hex, check_max(max), lease_ms(lease), consumer)
        until = time.monotonic() + milliseconds(wait, "wait") / 1_000
        while True:
            # Read before the question: what is written after it is noticed at once.
            seen = self.connection.store.version()
            (given,) = self._exchange(queue, (), (want,)).given
            if given.leases:
                return self._claimed(queue, given.leases)
            if time.monotonic() >= until and not given.more:
                return []
            again = time.monotonic() + AGAIN_SECONDS
            while not given.more and time.monotonic() < min(until, again):
                time.sleep(POLL_SECONDS)
                if self.connection.store.version() != seen:
                    break

    def ack(self, task: Claimed, result: Any = None) -> Task:
        """Complete a fetched task. Raises `StaleClaim` when it is not this consumer's any more."""
        return self._say(task, Settlement(Word.ACK, existing_id(task.id), 0, _result(result)))

    def ack_many(self, ends: Iterable[tuple[Claimed, Any]]) -> list[str]:
        """Complete many tasks, given with their results; returns `done`, `stale` or `unknown` for each."""
        outcomes: dict[int, Settled] = {}
        words: defaultdict[str, list[tuple[int, Settlement]]] = defaultdict(list)
        for place, (task, result) in enumerate(ends):
            claim, text = Claim.read(task.claim), _result(result)
            outcomes[place] = Settled.UNKNOWN
            if claim is not None:
                words[claim.queue].append((place, Settlement(Word.ACK, claim.task_id, claim.number, text)))
        for queue, said in words.items():
            for first in range(0, len(said), ACKS):
                part = said[first : first + ACKS]
                settled = self._settle(queue, [word for _, word in part])
                outcomes |= zip((place for place, _ in part), settled, strict=True)
        return [str(outcome) for outcome in outcomes.values()]

    def fail(self, task: Claimed, error: str, *, discard: bool = False) -> Task:
        """End an attempt that has failed; `discard`: there is to be no other. Raises `StaleClaim`."""
        check_text(error, "error")
        return self._say(task, Settlement(Word.FAIL, existing_id(task.id), 0, error[:MAX_MESSAGE_CHARACTERS], discard))

    def heartbeat(self, task: Claimed, lease: Duration = DEFAULT_LEASE) -> Task:
        """Have the lease end so long from now. Raises `StaleClaim`."""
        return self._say(task, Settlement(Word.HEARTBEAT, existing_id(task.id), 0, lease_ms=lease_ms(lease)))

    def _say(self, task: Claimed, word: Settlement) -> Task:
        claim = Claim.read(task.claim)
        if claim is not None and claim.task_id == word.task_id:
            (settled,) = self._settle(claim.queue, [word._replace(number=claim.number)])
            if settled is Settled.DONE:
                return self._get(word.task_id)
        self._get(word.task_id)
        raise StaleClaim(word.task_id)

    def _get(self, task_id: str) -> Task:
        found = self.connection.store.get(task_id)
        if found is None:
            raise TaskNotFound(task_id)
        return found

    def _claimed(self, queue: str, leases: Sequence[tuple[str, int]]) -> list[ClaimedTask]:
        claims = {task_id: str(Claim(queue, number, task_id)) for task_id, number in leases}
        tasks = self.connection.store.get_many(list(claims))
        # What was cancelled within this moment is nobody's to work on.
        return [ClaimedTask.of(task, claims[task.id]) for task in tasks if task.state is TaskState.EXECUTING]

    def _settle(self, queue: str, words: Sequence[Settlement]) -> Sequence[Settled]:
        try:
            return self._exchange(queue, words, ()).settled
        except InvalidOption:  # there is no such queue (any more)
            return [Settled.UNKNOWN] * len(words)

    def _exchange(self, queue: str, words: Sequence[Settlement], wants: Sequence[Want]) -> TasksExchanged:
        def request(request_id: str, found: QueueFound) -> ExchangeTasks:
            return ExchangeTasks(request_id, found.queue, found.incarnation, tuple(words), tuple(wants))

        def ask(caller: QueueCaller, left: float) -> tuple[TasksExchanged, bool]:
            return caller.ask_queue(queue, request, TasksExchanged, left)

        try:
            (reply, an_owner_died), the_server_died = self.connection.ask(ask)
        except RequestRefused as refusal:
            if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
                raise
            raise self.control.named(queue, refusal) from None
        if not (an_owner_died or the_server_died):
            return reply
        # What died may have done it before; of a failure only that it was told.
        return TasksExchanged(reply.request_id, tuple(map(surely, words, reply.settled)), reply.given)


def _result(result: Any) -> str:
    text = plain({"result": result}, "result")[len('{"result":') : -1].decode()
    if len(text) > MAX_RESULT_BYTES:
        raise InvalidOption(f"must have at most {MAX_RESULT_BYTES:,} bytes of JSON", field="result")
    return text
