"""One queue's options: a section of the configuration, the body of a PUT, a row's JSON and a message's field alike."""

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from callboard.actors.options import Backoff, BackoffStrategy
from callboard.conf.values import (
    Duration,
    DurationOrForever,
    DurationOrNever,
    DurationOrOff,
    Priority,
    SizeOrNone,
    WorkerPath,
    WorkerPathOrNone,
    refuse,
)

_DAY_MS = 86_400_000


class Section(BaseModel):
    """A group of options: can't be changed once made, and takes no key that it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the section with its defaults as people write them: "1s", where pydantic would put 1000."""
        schema = handler(core_schema)
        written = cls().model_dump(mode="json")
        for name, option in handler.resolve_ref_schema(schema)["properties"].items():
            option["default"] = written[name]
        return schema


class Delivery(StrEnum):
    """What a worker's death means for the task that it ran."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class BackoffSettings(Section):
    """How long a failed task waits; the queue's default for tasks that don't say."""

    strategy: BackoffStrategy = BackoffStrategy.FIXED
    base: Duration = 1_000
    # A hundredfold growth, 64 times over, still is a float; and factors below one would shrink the wait.
    factor: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    cap: Duration = 3_600_000
    jitter: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0

    def to_backoff(self) -> Backoff:
        """Return the form that tasks carry."""
        return Backoff(self.strategy, self.base, self.factor, self.cap, self.jitter)


class RetentionSettings(Section):
    """How long ended tasks are kept, in milliseconds; None keeps them for ever."""

    completed: DurationOrForever = 7 * _DAY_MS
    dead: DurationOrForever = None
    cancelled: DurationOrForever = 7 * _DAY_MS


NOT_YET: Final[dict[str, Any]] = {
    "command": (),
}
"""Options that nothing acts on yet, with the one value that they take until then. To release one, delete its line."""


class QueueSettings(Section):
    """One queue's options, under the names of the configuration; durations in milliseconds, sizes in bytes."""

    worker: WorkerPathOrNone = ""
    types: dict[Annotated[str, Field(min_length=1, max_length=200)], WorkerPath] = {}
    """Further task types by name. A task that names none is run by `worker`."""
    command: tuple[str, ...] = ()
    concurrency: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 3
    slots: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    strict: Annotated[bool, Field(strict=True)] = False
    max_memory: SizeOrNone = None
    priority: Priority = 0
    max_retries: Annotated[int, Field(strict=True, ge=0, le=99)] = 3
    timeout: Annotated[Duration, Field(gt=0)] = 60_000
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    poll_interval: Annotated[Duration, Field(gt=0)] = 1_000
    aging: DurationOrOff = None
    max_length: Annotated[int, Field(strict=True, ge=0)] = 0
    """How many unfinished tasks the queue takes; 0: any number."""
    backoff: BackoffSettings = BackoffSettings()
    retention: RetentionSettings = RetentionSettings()
    start_timeout: Annotated[Duration, Field(gt=0)] = 30_000
    """How long a worker may take until it is ready."""
    idle_after: DurationOrNever = 300_000
    """With nothing to do for so long, the queue lets its processes go until there is something again."""

    @field_validator(*NOT_YET)
    @classmethod
    def _only_what_works(cls, value: Any, info: ValidationInfo) -> Any:
        # An option that is accepted and then ignored would be found out in production only.
        if value != NOT_YET[info.field_name or ""]:
            raise refuse("not available yet in this version")
        return value

    @property
    def timeout_ms(self) -> int:
        """How long an attempt may take."""
        return self.timeout

    @property
    def poll_interval_ms(self) -> int:
        """How often the queue looks for due tasks that no wakeup announced."""
        return self.poll_interval

    @property
    def aging_ms(self) -> int | None:
        """How much waiting outweighs one level of priority, None if none does."""
        return self.aging

    @property
    def start_timeout_ms(self) -> int:
        """How long a worker may take until it is ready."""
        return self.start_timeout

    @property
    def handlers(self) -> dict[str, str]:
        """Worker path by task type; the default type is named for its path."""
        return ({self.worker: self.worker} if self.worker else {}) | self.types
