"""What a handler says of its own tasks: the options of a `Worker` class and of `@task`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from callboard.actors.errors import InvalidOption
from callboard.conf.explain import explain, unknown_option
from callboard.conf.sections import BackoffSettings, Section
from callboard.conf.values import Duration, Priority


class TypeDefaults(Section):
    """The defaults of one type of tasks, over those of its queue; None: as the queue has it.

    name: the type's name, where it is the queue's `worker`; "" for the worker path.
    """

    name: Annotated[str, Field(max_length=200)] = ""
    priority: Priority | None = None
    max_retries: Annotated[int, Field(strict=True, ge=0, le=99)] | None = None
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    backoff: BackoffSettings | None = None


def read_type_defaults(options: Mapping[str, Any]) -> TypeDefaults:
    """Return what these options mean. Raises `InvalidOption` that names the option.

    They are written as in the configuration; `max_attempts` is `max_retries` + 1.
    """
    values = dict(options)
    known = [*TypeDefaults.model_fields, "max_attempts"]
    for name in values:
        if name not in known:
            raise InvalidOption(f"{name}: {unknown_option(name, known)}", field=name)
    if "max_attempts" in values:
        attempts = values.pop("max_attempts")
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= 100:  # noqa: PLR2004 - and one for the first
            raise InvalidOption("max_attempts: must be an integer from 1 to 100", field="max_attempts")
        if values.setdefault("max_retries", attempts - 1) != attempts - 1:
            raise InvalidOption("max_attempts: must be max_retries + 1 where both are given", field="max_attempts")
    try:
        return TypeDefaults.model_validate(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, detail["loc"]))
        raise InvalidOption(f"{place}: {explain(TypeDefaults, detail)}", field=str(detail["loc"][0])) from None
