"""What requests may say on the routes of other systems, and what they are answered, in these systems' own forms."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from callboard.actors.errors import InvalidOption
from callboard.http.answers import Answer
from callboard.http.go_duration import parse_go_duration
from callboard.http.schemas import MAX_BATCH, Body, Name


class EventRequest(BaseModel):
    """An event as V7TaskProcessor takes it; whatever else it holds reaches the worker too."""

    model_config = ConfigDict(extra="allow", frozen=True)

    user_id: Annotated[int, Field(strict=True)]
    priority: Annotated[int, Field(strict=True)] = Field(description="Lower runs first.")
    event_data: Any
    event_type_id: Annotated[int, Field(strict=True)] = Field(description="Each type has a queue of its own.")


class EventTaken(Answer):
    """The task that an event has become."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    queue: str


class EventAnswer(Answer):
    """An event was taken in."""

    data: EventTaken


def _low_or_high(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or value not in (0, 1) or not isinstance(value, int)):
        raise PydanticCustomError("priority", "must be 0 (low) or 1 (high)")
    return value


def _milliseconds(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise PydanticCustomError("duration", "must be a duration as text, for example 5s")
    try:
        return parse_go_duration(value)
    except InvalidOption as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from None


class EnqueuedTask(Body):
    """A task as AsyncTaskProcessor takes it."""

    taskType: Name = Field(description="One of the types of the queue `default`.")  # noqa: N815 - that system's names
    priority: Annotated[Literal[0, 1] | None, BeforeValidator(_low_or_high)] = Field(None, description="1 runs before 0.")
    payload: dict[str, Any] = Field(default_factory=dict, description="What the worker gets.")
    backOffDuration: Annotated[  # noqa: N815
        int | None, BeforeValidator(_milliseconds, json_schema_input_type=str | None)
    ] = Field(None, description="How long it waits at least after a failure, as Go writes it: 1m30s.")


class EnqueueRequest(Body):
    """Tasks of which all are stored or none."""

    tasks: Annotated[list[EnqueuedTask], Field(max_length=MAX_BATCH)]


class Status(StrEnum):
    """How AsyncTaskProcessor calls the states of a task."""

    AWAITING = "Awaiting enqueue"
    ENQUEUED = "Enqueued, awaiting processing"
    PROCESSING = "Being processed by worker"
    SUCCESS = "Processed successfully"
    AWAITING_RETRY = "Awaiting retry"
    FAILED = "Failed to process"


class TaskEnqueued(Answer):
    """A task that has just been stored."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    taskType: str  # noqa: N815
    priority: int
    status: Status


class EnqueueAnswer(Answer):
    """All tasks are stored."""

    tasks: list[TaskEnqueued]
    status: str


class TaskStatus(TaskEnqueued):
    """A task, and why its last attempt failed if it did, or that it was cancelled."""

    error: str | None
