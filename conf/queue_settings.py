"""One queue's options: a section of the configuration, the body of a PUT, a row's JSON and a message's field alike."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from callboard.conf.sections import BackoffSettings, Section
from callboard.conf.type_defaults import TypeDefaults
from callboard.conf.values import (
    Command,
    Duration,
    DurationOrForever,
    DurationOrNever,
    DurationOrOff,
    Handler,
    Priority,
    SizeOrNone,
    WorkerPathOrNone,
    refuse,
)

_DAY_MS = 86_400_000


class Delivery(StrEnum):
    """What a worker's death means for the task that it ran."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class RetentionSettings(Section):
    """How long ended tasks are kept, in milliseconds; None keeps them for ever."""

    completed: DurationOrForever = 7 * _DAY_MS
    dead: DurationOrForever = None
    cancelled: DurationOrForever = 7 * _DAY_MS


_OF_A_TYPE: Final = ("priority", "max_retries", "timeout", "backoff")
_BUDGET: Final = ("max_retries", "max_attempts")
COMMAND_TYPE: Final = "command"
"""The type of the tasks that a queue's `command` runs: the program itself may change its name."""


class _BothSpellings(BaseModel):
    """A budget of attempts as it was written: `max_attempts`, and perhaps `max_retries` with it."""

    max_retries: Any = None
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100, description="The other spelling: max_retries + 1.")]

    @field_validator("max_attempts")
    @classmethod
    def _agrees(cls, attempts: int, info: ValidationInfo) -> int:
        if info.data["max_retries"] not in (None, attempts - 1):
            raise refuse("must be max_retries + 1 where both are given")
        return attempts


class QueueSettings(Section):
    """One queue's options, under the names of the configuration; durations in milliseconds, sizes in bytes.

    `max_attempts` is taken as another spelling of `max_retries` + 1, and never shown.
    """

    other_spellings: ClassVar = ("max_attempts",)
    worker: WorkerPathOrNone = ""
    types: dict[Annotated[str, Field(min_length=1, max_length=200)], Handler] = Field(default={})
    """Further task types by name. A task that names none is run by `worker` or `command`."""
    command: Command = ()
    """A program and its arguments, started for each task, instead of `worker`."""
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
    learned: dict[str, TypeDefaults] = Field(default={}, json_schema_extra={"readOnly": True})
    """What the workers say of their types, as soon as one of them is ready; a type that is not in it is not known yet."""
    idle_after: DurationOrNever = 300_000
    """With nothing to do for so long, the queue lets its processes go until there is something again."""

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "max_attempts" not in values:
            return values
        written = _BothSpellings.model_validate({name: values[name] for name in _BUDGET if name in values})
        rest = {name: value for name, value in values.items() if name != "max_attempts"}
        return rest | {"max_retries": written.max_attempts - 1}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the section with the other spelling where it is written."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        if handler.mode == "validation":
            other = _BothSpellings.model_json_schema()["properties"]["max_attempts"]
            handler.resolve_ref_schema(schema)["properties"]["max_attempts"] = {**other, "writeOnly": True}
        return schema

    @field_validator("command")
    @classmethod
    def _one_default(cls, command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if command and info.data.get("worker"):
            raise refuse("can't be given together with worker: both would run the tasks that name no type")
        return command

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
    def default_type(self) -> str:
        """The type of tasks that name none; "" if the queue can't run such."""
        if self.command:
            return COMMAND_TYPE
        own = self.learned.get(self.worker)
        return own.name or self.worker if own is not None else self.worker

    @property
    def handlers(self) -> dict[str, str | tuple[str, ...]]:
        """Worker path or command by task type; the default type is named for its path."""
        default: dict[str, str | tuple[str, ...]] = {}
        if self.command:
            default = {COMMAND_TYPE: self.command}
        elif self.worker:
            default = {self.worker: self.worker}
        return default | self.types

    @property
    def unlearned(self) -> bool:
        """Whether there are types of which only a worker can tell what it says of them, and none has."""
        return any(isinstance(handler, str) and type_ not in self.learned for type_, handler in self.handlers.items())

    def of_type(self, type_: str) -> Self:
        """Return these settings with what the type's own handler says put over them."""
        own = self.learned.get(type_)
        said = {} if own is None else {name: value for name in _OF_A_TYPE if (value := getattr(own, name)) is not None}
        return self.model_copy(update=said) if said else self

    def with_learned(self, learned: Mapping[str, TypeDefaults]) -> Self:
        """Return these settings with what was learned of the handlers; what there is no handler for is left out."""
        handlers = self.handlers
        own = learned.get(self.worker)
        names = {*handlers, own.name} if own is not None and self.worker in handlers else {*handlers}
        return self.model_copy(update={"learned": {name: said for name, said in learned.items() if name in names}})

    def taught_by(self, before: "QueueSettings") -> Self:
        """Return these settings with what was known of handlers that are the same as before."""
        same = {type_ for type_, handler in self.handlers.items() if before.handlers.get(type_) == handler}
        if self.worker == before.worker and self.worker in before.learned:
            same.add(before.learned[self.worker].name)
        known = {type_: said for type_, said in before.learned.items() if type_ in same}
        return self.with_learned(known | self.learned)
