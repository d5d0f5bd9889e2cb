"""Read tasks' ids as people and programs write them."""

import uuid

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
