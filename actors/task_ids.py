"""Read tasks' ids as people and programs write them."""

import uuid
from urllib.parse import quote

from callboard.actors.errors import TaskNotFound


def normal_id(text: str) -> str | None:
    """Return a task's id as the store has it, whatever its case, dashes and braces; None for what can't be one."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):  # the last two: it is no text
        return None


def existing_id(text: str) -> str:
    """Return a task's id as the store has it. Raises `TaskNotFound` for what can't be one."""
    task_id = normal_id(text)
    if task_id is None:
        raise TaskNotFound(text)
    return task_id


def path_part(text: str) -> str:
    """Return an id as a part of a path, for the server to judge. Raises `TaskNotFound` for what would be another path."""
    given: object = text
    if not isinstance(given, str) or not given.strip("."):
        raise TaskNotFound(text)
    try:
        return quote(given, safe="")
    except UnicodeEncodeError:
        raise TaskNotFound(text) from None
