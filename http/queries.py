"""What query strings may say."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from callboard.actors.task import TaskState
from callboard.http.bulk_schemas import Ids
from callboard.http.schemas import MAX_PAGE, MAX_WAIT_SECONDS

MAX_QUEUES = 100


class Query(BaseModel):
    """What all query strings have in common; numbers come as text here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DeadQuery(Query):
    """A page of the dead letter, newest first by creation."""

    queue: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")


class DeadFilterQuery(Query):
    """Which dead tasks, instead of the same in the body."""

    queue: str | None = Field(None, description="Those of this queue; instead of the same in the body.")
    ids: Ids | None = Field(None, description="These; may be repeated. Instead of the same in the body.")


class TaskQuery(DeadQuery):
    """A page of tasks, newest first."""

    state: TaskState | None = None
    type: str | None = None


class WaitQuery(Query):
    """Whether to wait for the task's end."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)] = Field(
        0, description="Seconds to hold the answer until the task has ended."
    )


class EventQuery(Query):
    """Which events."""

    queue: Annotated[list[str], Field(max_length=MAX_QUEUES)] = Field([], description="Only these; may be repeated.")


class DeleteQuery(Query):
    """Whether to delete a queue that is not empty."""

    force: Literal["true", "false"] = "false"
