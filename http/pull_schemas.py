"""What consumers' requests may say, and what they are answered."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from callboard.actors.options import MAX_CONSUMER, MAX_LEASE_MS, MAX_WANTED, MIN_LEASE_MS
from callboard.actors.runners.call import MAX_RESULT_BYTES
from callboard.http.answers import Answer, TaskShown
from callboard.http.problems import json_text
from callboard.http.schemas import MAX_WAIT_SECONDS, Body, Flag, or_null

MAX_CLAIM = 500
MAX_ACKS = 1_000


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("unprintable", "must have printable characters only")
    return value


def _result(value: Any) -> Any:
    if len(json_text(value)) > MAX_RESULT_BYTES:
        raise PydanticCustomError(
            "large",
            "must have at most {most} bytes of JSON: store it elsewhere and say where",
            {"most": f"{MAX_RESULT_BYTES:,}"},
        )
    return value


ClaimText = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=MAX_CLAIM, description="As it came with the task."),
]
LeaseMilliseconds = Annotated[
    int,
    Field(strict=True, ge=MIN_LEASE_MS, le=MAX_LEASE_MS, description="How long the consumer has, from now on."),
]
WaitMilliseconds = Annotated[int, Field(strict=True, ge=0, le=MAX_WAIT_SECONDS * 1_000)]
Consumer = Annotated[str, Field(strict=True, max_length=MAX_CONSUMER), AfterValidator(_printable)]
Result = Annotated[Any, AfterValidator(_result), Field(description="Any JSON: the task's result.")]


class DequeueRequest(Body):
    """Which tasks a consumer wants."""

    max: Annotated[int, Field(strict=True, ge=1, le=MAX_WANTED, description="At most so many.")]
    lease_ms: LeaseMilliseconds
    wait_ms: Annotated[WaitMilliseconds, or_null(default=0, wanted=WaitMilliseconds)] = Field(
        0, description="So long to wait for the first of them."
    )
    consumer: Annotated[Consumer, or_null(default="", wanted=Consumer)] = Field(
        "", description="Who asks: named where its lease expires."
    )


class AckRequest(Body):
    """The task is done."""

    claim: ClaimText
    result: Result = None


class FailRequest(Body):
    """This attempt has failed."""

    claim: ClaimText
    error: Annotated[str, Field(strict=True, min_length=1, description="What went wrong, for people.")]
    discard: Flag = Field(default=False, description="No further attempt: it is dead at once.")


class HeartbeatRequest(Body):
    """The consumer is still at it."""

    claim: ClaimText
    lease_ms: LeaseMilliseconds


class Ack(Body):
    """The end of one task: done, or failed where it has an error."""

    claim: ClaimText
    result: Result = None
    error: Annotated[str, Field(strict=True, min_length=1)] | None = None
    discard: Flag = False

    @field_validator("error")
    @classmethod
    def _one_end(cls, value: str | None, info: Any) -> str | None:
        if value is not None and info.data.get("result") is not None:
            raise PydanticCustomError("both", "must not be given together with a result")
        return value


class AcksRequest(Body):
    """The ends of many tasks at once, of any queues."""

    acks: Annotated[list[Ack], Field(max_length=MAX_ACKS)]


class ClaimedTask(TaskShown):
    """A task that its consumer has now."""

    claim: str


class ClaimedAnswer(Answer):
    """The tasks that the consumer has got; none if there was none."""

    data: list[ClaimedTask]


class AckShown(Answer):
    """What became of one ack: done; stale: the task is not with this consumer any more; unknown: there is no such task."""

    claim: str
    outcome: Literal["done", "stale", "unknown"]


class AcksAnswer(Answer):
    """What became of each ack, in their order."""

    data: list[AckShown]
