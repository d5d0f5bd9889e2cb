"""What requests may say: these models validate them, and the OpenAPI document is made from them.

An optional field that is null counts as not given, except `context`, where null is more likely a sender's mistake.
Unknown keys are errors: a misspelt option would otherwise be a task that behaves in a way nobody asked for.
"""

import time
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from callboard.actors.errors import InvalidOption
from callboard.actors.options import MAX_MILLISECONDS, MAX_PRIORITY, MIN_PRIORITY, Backoff, BackoffStrategy, parse_priority
from callboard.actors.task import parse_time

MAX_BATCH: Final = 10_000
MAX_PAGE: Final = 1_000
MAX_WAIT_SECONDS: Final = 60
_LATEST_MICROSECONDS: Final = 253_402_300_799_999_999  # the end of the year 9999, the last that RFC 3339 can write


def _name(value: object) -> object:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise PydanticCustomError("blank", "can't be blank")
    return value


def _priority(value: object) -> int | None:
    if value is None:
        return None
    try:
        return parse_priority(value if isinstance(value, str | int) else "")
    except InvalidOption as error:
        raise PydanticCustomError("priority", "{message}", {"message": str(error)}) from None


def _moment(value: object) -> int | None:
    if value is None:
        return None
    try:
        moment = parse_time(value) if isinstance(value, str) and value[10:11] in {"T", "t", " "} else -1
    except (ValueError, OverflowError):
        moment = -1
    if not 0 <= moment <= _LATEST_MICROSECONDS:
        raise PydanticCustomError("moment", "must be an RFC 3339 time with its offset, for example 2026-01-31T09:15:00Z")
    return moment


def or_null(*, default: Any, wanted: Any) -> BeforeValidator:
    """Have null count as not given in a field whose default is not None; `wanted`: its type, for the OpenAPI document."""
    return BeforeValidator(lambda value: default if value is None else value, json_schema_input_type=wanted | None)


Flag = Annotated[bool, Field(strict=True), or_null(default=False, wanted=bool)]
"""False where it is not given."""
Name = Annotated[str, BeforeValidator(_name, json_schema_input_type=str), Field(strict=True, min_length=1)]
Milliseconds = Annotated[int, Field(strict=True, ge=0, le=MAX_MILLISECONDS)]
Priority = Annotated[
    int | None,
    PlainValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["low", "high"]},
                {"type": "integer", "minimum": MIN_PRIORITY, "maximum": MAX_PRIORITY},
                {"type": "null"},
            ],
            "description": "Higher runs first; low is 0, high is 1.",
        }
    ),
]
Moment = Annotated[
    int | None,
    PlainValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]


class Body(BaseModel):
    """What all requests have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackoffOptions(Body):
    """How long a failed task waits at least before it runs again; what is not given is as its queue has it."""

    strategy: BackoffStrategy | None = None
    base_ms: Milliseconds | None = Field(None, description="The wait after the first failure.")
    factor: Annotated[float, Field(strict=True, ge=1, le=1_000, allow_inf_nan=False)] | None = Field(
        None, description="Growth of the exponential."
    )
    cap_ms: Milliseconds | None = Field(None, description="No wait is longer than this.")
    jitter: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="The part of the wait that is added at random."
    )

    def over(self, default: Backoff) -> Backoff:
        """Return the queue's backoff with what is given here put over it."""
        return Backoff(
            default.strategy if self.strategy is None else self.strategy,
            default.base_ms if self.base_ms is None else self.base_ms,
            default.factor if self.factor is None else self.factor,
            default.cap_ms if self.cap_ms is None else self.cap_ms,
            default.jitter if self.jitter is None else self.jitter,
        )


class TaskOptions(Body):
    """How a task is run; what is not given is as its queue has it."""

    max_retries: Annotated[int, Field(strict=True, ge=0, le=99)] | None = Field(
        None, description="Runs after the first one, if that fails."
    )
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100)] | None = Field(
        None, description="The other spelling: max_retries + 1."
    )
    backoff_ms: Milliseconds | None = Field(None, description="The same as backoff.base_ms.")
    backoff: BackoffOptions | None = None
    priority: Priority = None
    timeout_ms: Annotated[int, Field(strict=True, gt=0, le=MAX_MILLISECONDS)] | None = Field(
        None, description="A run that takes longer is killed and counts as failed."
    )
    delay_ms: Milliseconds | None = Field(None, description="Not before so long from now.")
    run_at: Moment = Field(None, description="Not before then; instead of delay_ms.")

    @field_validator("max_attempts")
    @classmethod
    def _agrees(cls, value: int | None, info: ValidationInfo) -> int | None:
        retries = info.data.get("max_retries")
        if value is not None and retries is not None and value != retries + 1:
            raise PydanticCustomError("disagree", "must be max_retries + 1 where both are given")
        return value

    @field_validator("backoff")
    @classmethod
    def _one_base(cls, value: BackoffOptions | None, info: ValidationInfo) -> BackoffOptions | None:
        base = info.data.get("backoff_ms")
        if value is not None and base is not None and value.base_ms not in {None, base}:
            raise PydanticCustomError("disagree", "base_ms must be backoff_ms where both are given")
        return value

    @field_validator("run_at")
    @classmethod
    def _one_start(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("delay_ms") is not None:
            raise PydanticCustomError("disagree", "must not be given together with delay_ms")
        return value

    def retries(self) -> int | None:
        """Return the retry budget in either spelling."""
        return self.max_attempts - 1 if self.max_retries is None and self.max_attempts is not None else self.max_retries

    def backoff_over(self, default: Backoff) -> Backoff | None:
        """Return the backoff asked for, None for the queue's."""
        if self.backoff is None and self.backoff_ms is None:
            return None
        chosen = default if self.backoff is None else self.backoff.over(default)
        if self.backoff_ms is None:
            return chosen
        return Backoff(chosen.strategy, self.backoff_ms, chosen.factor, chosen.cap_ms, chosen.jitter)

    def due(self, now: int) -> int:
        """Return when the task may run, 0 for at once."""
        if self.delay_ms:
            return now + 1_000 * self.delay_ms
        return self.run_at if self.run_at is not None and self.run_at > now else 0


NO_OPTIONS: Final = TaskOptions()


class TaskRequest(Body):
    """A task to be run."""

    queue: Name = Field(description="The queue that runs it.", examples=["sleep"])
    type: str | None = Field(None, description="Which of the queue's handlers runs it; the queue's own if not given.")
    context: dict[str, Any] = Field(default_factory=dict, description="What the worker gets, unchanged.")
    options: TaskOptions | None = None


class EditRequest(Body):
    """What to change of a task that waits; what is not given stays as it is."""

    priority: Priority = None
    queue: str | None = Field(None, min_length=1, description="Move it there; the queue must have a handler of its type.")
    delay_ms: Milliseconds | None = Field(None, description="Not before so long from now; 0: as soon as it can.")
    run_at: Moment = Field(None, description="Not before then; instead of delay_ms. A past time: as soon as it can.")

    @field_validator("run_at")
    @classmethod
    def _one_start(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("delay_ms") is not None:
            raise PydanticCustomError("disagree", "must not be given together with delay_ms")
        return value

    def due(self, now: int) -> int | None:
        """Return when the task may run from now on, None where that is not to be changed."""
        return self.run_at if self.delay_ms is None else now + 1_000 * self.delay_ms


class BatchRequest(Body):
    """Many tasks at once, for any number of queues; validated as a whole before any is stored."""

    tasks: Annotated[list[TaskRequest], Field(max_length=MAX_BATCH)]


class RetryRequest(Body):
    """How to put a task back."""

    keep_attempts: Flag = Field(
        default=False,
        description="Go on counting attempts where they were; the budget of retries is fresh either way.",
    )


class ScaleRequest(Body):
    """How many tasks a queue runs at once."""

    concurrency: Annotated[int, Field(strict=True, ge=0, le=10_000)]


def microseconds_now() -> int:
    """Read the clock."""
    return time.time_ns() // 1_000
