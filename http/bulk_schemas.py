"""What requests about many tasks at once may say."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from callboard.actors.task import TaskState
from callboard.http.schemas import MAX_BATCH, Body, RetryRequest

Ids = Annotated[list[str], Field(max_length=MAX_BATCH)]


class Filter(Body):
    """Which tasks: those that meet all that is given; something has to be."""

    queue: str | None = None
    state: TaskState | None = None
    type: str | None = None


class BulkCancelRequest(Body):
    """Which tasks, by ids or by filter."""

    ids: Ids | None = None
    filter: Filter | None = None

    @field_validator("filter")
    @classmethod
    def _narrow(cls, value: Filter | None, info: ValidationInfo) -> Filter | None:
        if value is not None and info.data.get("ids") is not None:
            raise PydanticCustomError("both", "must not be given together with ids")
        if value is not None and value == Filter():
            raise PydanticCustomError("empty", "must name a queue, a state or a type")
        return value


class BulkRetryRequest(BulkCancelRequest, RetryRequest):
    """Which tasks to put back, by ids or by filter, and how."""


class DeadRequest(Body):
    """Which dead tasks: these ids, those of this queue, or all."""

    ids: Ids | None = None
    queue: str | None = None
