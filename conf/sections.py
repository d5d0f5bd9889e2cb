"""What all groups of options have in common, and the groups that stand in more than one place."""

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from callboard.actors.options import MAX_MILLISECONDS, Backoff, BackoffStrategy, format_duration
from callboard.conf.values import Duration, refuse


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


class BackoffPreset(StrEnum):
    """A strategy with its figures: those of the job queue that Callboard can take the place of."""

    CUSTOM = ""
    NONE = "none"
    LINEAR = "linear"
    """15 s for each failure."""
    EXPONENTIAL = "exponential"
    """15 s + failures⁴ s."""


_FOR_EVER: Final = format_duration(MAX_MILLISECONDS)
_PRESETS: Final[dict[str, dict[str, Any]]] = {
    BackoffPreset.NONE: {"strategy": "none", "base": "0s"},
    BackoffPreset.LINEAR: {"strategy": "linear", "base": "15s", "cap": _FOR_EVER},
    BackoffPreset.EXPONENTIAL: {"strategy": "polynomial", "base": "15s", "factor": 4.0, "cap": _FOR_EVER},
}


class BackoffSettings(Section):
    """How long a failed task waits; the queue's default for tasks that don't say."""

    preset: BackoffPreset = BackoffPreset.CUSTOM
    """Stands for the options below that are not given."""
    strategy: BackoffStrategy = BackoffStrategy.FIXED
    base: Duration = 1_000
    # A hundredfold growth, 64 times over, still is a float; and factors below one would shrink the wait.
    factor: Annotated[float, Field(strict=True, ge=1, le=100)] = 2.0
    cap: Duration = 3_600_000
    jitter: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if isinstance(values, dict) and (meant := _PRESETS.get(str(values.get("preset", "")))):
            if values.get("strategy", meant["strategy"]) != meant["strategy"]:
                raise refuse(f"preset {values['preset']!r} has a strategy of its own, {meant['strategy']!r}")
            return meant | values
        return values

    def to_backoff(self) -> Backoff:
        """Return the form that tasks carry."""
        return Backoff(self.strategy, self.base, self.factor, self.cap, self.jitter)
