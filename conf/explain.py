"""Say in plain words what is wrong with a value that a model has refused, and which key was meant by an unknown one."""

import difflib
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

KEY: Final = "[key]"
"""What pydantic puts at the end of a place when the key itself is wrong."""

_MESSAGES: Final = {
    "missing": "can't be blank",
    "string_type": "must be a text",
    "string_too_short": "can't be blank",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be greater than or equal to {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be less than or equal to {le}",
    "enum": "must be {expected}",
}


def explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    """Return what one of the errors of a `ValidationError` of this model says, without its place."""
    if detail["type"] == "extra_forbidden":
        return unknown_option(str(detail["loc"][-1]), known_options(model, detail["loc"][:-1]))
    template = _MESSAGES.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else detail["msg"].removeprefix("Value error, ")


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Say that there is no such option, and which one was probably meant or else which there are."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"unknown option, did you mean {near[0]}?" if near else f"unknown option; known are {', '.join(known)}"


def known_options(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Return the options that may stand at this place, none where a model has no say."""
    found = annotation_at(model, path)
    return [*found.model_fields, *getattr(found, "other_spellings", ())] if is_model(found) else []


def annotation_at(model: type[BaseModel], path: Sequence[int | str]) -> Any:
    """Return the type of the option at this place, None where there is no such option."""
    here: Any = model
    for part in path:
        if is_model(here):
            option = here.model_fields.get(part)
            here = option and _wanted(option.annotation)
        elif is_table_of_models(here):
            here = get_args(here)[1]
        else:
            return None
    return here


def _wanted(annotation: Any) -> Any:
    """Return the model that an option takes if it takes one or nothing, else the type as it is."""
    if get_origin(annotation) not in {Union, UnionType}:
        return annotation
    return next((arm for arm in get_args(annotation) if is_model(arm)), annotation)


def is_model(annotation: Any) -> bool:
    """Tell whether a type is a group of options."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_table_of_models(annotation: Any) -> bool:
    """Tell whether a type is a table of groups of options under names that are free (queues)."""
    return get_origin(annotation) is dict and is_model(get_args(annotation)[1])
