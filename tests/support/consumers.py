"""Consumers played by the test, on a stage: what they fetch and say, as one message of the edge brings it."""

import uuid
from dataclasses import dataclass

from callboard.actors.messages import Given, Settled, Settlement, Want, Word
from callboard.actors.task import NewTask
from tests.support.stages import Stage


@dataclass(frozen=True)
class Held:
    """A task that a consumer has been given."""

    task_id: str
    number: int

    def ack(self, result: str = "null") -> Settlement:
        return Settlement(Word.ACK, self.task_id, self.number, result)

    def fail(self, message: str = "no", *, discard: bool = False) -> Settlement:
        return Settlement(Word.FAIL, self.task_id, self.number, message, discard)

    def heartbeat(self, lease_ms: int = 1_000) -> Settlement:
        return Settlement(Word.HEARTBEAT, self.task_id, self.number, lease_ms=lease_ms)


def want(most: int = 1, lease_ms: int = 1_000, *, consumer: str = "", want_id: str = "") -> Want:
    return Want(want_id or uuid.uuid4().hex, most, lease_ms, consumer)


def exchange(stage: Stage, *asked: Settlement | Want) -> tuple[list[Settled], list[Given]]:
    """Deliver one message."""
    said = tuple(one for one in asked if isinstance(one, Settlement))
    wanted = tuple(one for one in asked if isinstance(one, Want))
    done = stage.owner.exchange(said, wanted, stage.now)
    stage.perform()
    return done.settled, done.given


def fetch(stage: Stage, most: int = 1, lease_ms: int = 1_000, *, consumer: str = "", want_id: str = "") -> list[Held]:
    """Fetch tasks."""
    _, (given,) = exchange(stage, want(most, lease_ms, consumer=consumer, want_id=want_id))
    return [Held(*lease) for lease in given.leases]


def say(stage: Stage, *words: Settlement) -> list[str]:
    """Say something about tasks and return what came of it."""
    return [str(settled) for settled in exchange(stage, *words)[0]]


def places(held: list[Held], tasks: list[NewTask]) -> list[int]:
    """Return which of the tasks these are, by place."""
    ids = [task.id for task in tasks]
    return [ids.index(one.task_id) for one in held]
