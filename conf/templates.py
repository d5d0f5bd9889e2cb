"""What queues look like that nobody has configured: they are made when a route first needs them."""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from callboard.actors.options import BackoffStrategy
from callboard.conf.queue_settings import QueueSettings
from callboard.conf.sections import BackoffSettings
from callboard.conf.values import refuse

EVENT: Final = "event"
"""The template of the queues that `POST /api/event/v1` makes, one for each `event_type_id`."""
_MADE_FROM: Final = re.compile(r"(event)--?[0-9]+")


def _known(name: str) -> str:
    if name != EVENT:
        raise refuse(f"unknown template, known is {EVENT}")
    return name


TemplateName = Annotated[str, AfterValidator(_known)]


class QueueTemplate(QueueSettings):
    """A queue's options, with the defaults that events have: five retries, at once."""

    max_retries: Annotated[int, Field(strict=True, ge=0, le=99)] = 5
    backoff: BackoffSettings = BackoffSettings(strategy=BackoffStrategy.NONE)

    def queue_settings(self) -> QueueSettings:
        """Return the settings of a queue that is made from it."""
        return QueueSettings.model_validate_json(self.model_dump_json())


def event_queue(event_type_id: int) -> str:
    """Return the name of the queue for events of this type."""
    return f"{EVENT}-{event_type_id}"


def is_made_on_use(queue: str) -> bool:
    """Tell whether a queue of this name is one that a route makes when it first needs it."""
    return _MADE_FROM.fullmatch(queue) is not None


def template_of(queue: str, templates: Mapping[str, QueueTemplate]) -> QueueTemplate | None:
    """Return the template that a queue of this name is made from, None if there is none."""
    made_from = _MADE_FROM.fullmatch(queue)
    return None if made_from is None else templates.get(made_from[1])
