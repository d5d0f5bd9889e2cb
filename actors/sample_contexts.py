"""What the sample workers take. The HTTP server knows these models too, and refuses what does not fit."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _text(value: Any) -> Any:
    if value is None or value == "":
        raise PydanticCustomError("blank", "can't be blank")
    return value


def _addresses(value: Any) -> list[str]:
    addresses = [value] if isinstance(value, str) else value
    if addresses in (None, [""], []):
        raise PydanticCustomError("blank", "can't be blank")
    if not isinstance(addresses, list) or not all(isinstance(one, str) and "@" in one for one in addresses):
        raise PydanticCustomError("addresses", "must be an address or a list of them")
    return addresses


def _report_type(value: Any) -> Any:
    if value in (None, "", {}):
        raise PydanticCustomError("blank", "can't be blank")
    if not isinstance(value, str) and not (isinstance(value, dict) and value.keys() == {"queue"}):
        raise PydanticCustomError("report_type", 'must be a text or {"queue": name}')
    return value


Text = Annotated[str, BeforeValidator(_text), Field(strict=True)]


class Context(BaseModel):
    """What all have in common: further fields are the sender's own business."""

    model_config = ConfigDict(extra="allow", frozen=True)


class EmailContext(Context):
    """What SendEmail takes."""

    sendTo: Annotated[list[str], BeforeValidator(_addresses)]  # noqa: N815 - the sender's names
    sendFrom: Text  # noqa: N815
    subject: Text
    body: Annotated[str, Field(strict=True)] = ""


class ReportContext(Context):
    """What GenerateReport takes. limit: the newest so many tasks."""

    reportType: Annotated[str | dict[str, Any], BeforeValidator(_report_type)]  # noqa: N815
    limit: Annotated[int, Field(strict=True, ge=1)] = 100_000


class CpuContext(Context):
    """What CPUProcess takes."""

    ProcessType: Annotated[str, Field(strict=True)] = ""


KNOWN: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        "callboard.actors.samples:SendEmail": EmailContext,
        "callboard.actors.samples:GenerateReport": ReportContext,
        "callboard.actors.samples:CPUProcess": CpuContext,
    }
)
"""By worker path: the server imports nobody's workers, but these models are its own."""
