"""The whole configuration as one frozen object, validated at start and passed to whoever needs it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator

from callboard.conf.queue_settings import Delivery, QueueSettings, RetentionSettings
from callboard.conf.sections import BackoffSettings, Section
from callboard.conf.store_url import is_postgres, shown_url, trouble_with
from callboard.conf.templates import QueueTemplate, TemplateName
from callboard.conf.values import DEAD_LETTER, Duration, QueueName, Size, check_queue_name, refuse

__all__ = [
    "DEAD_LETTER",
    "DEFAULT_DATA_DIR",
    "BackoffSettings",
    "Delivery",
    "HttpSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "QueueSettings",
    "RetentionSettings",
    "SamplesSettings",
    "Section",
    "Settings",
    "ShutdownSettings",
    "StoreSettings",
    "check_queue_name",
]

DEFAULT_DATA_DIR: Final = Path("var")
_MAX_PORT = 65_535


class HttpSettings(Section):
    """Where HTTP is served. Port 0 takes a free one; an empty token asks nobody for one."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=0, le=_MAX_PORT)] = 4000
    token: Annotated[str, Field(repr=False)] = ""
    max_body: Size = 2**20


class StoreSettings(Section):
    """Which database holds the tasks; `{data_dir}` in the URL stands for the data directory."""

    url: Annotated[str, Field(repr=False)] = "sqlite:///{data_dir}/callboard.db"

    @field_validator("url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if trouble := trouble_with(url):
            raise refuse(trouble)
        return url


class ShutdownSettings(Section):
    """How long running tasks may go on after SIGTERM, in milliseconds."""

    grace: Duration = 30_000

    @property
    def grace_seconds(self) -> float:
        """The grace in seconds."""
        return self.grace / 1_000


class SamplesSettings(Section):
    """What the sample workers need. smtp: `host:port`; "" writes mails to files."""

    smtp: str = ""

    @field_validator("smtp")
    @classmethod
    def _host_and_port(cls, smtp: str) -> str:
        host, _, port = smtp.rpartition(":")
        if smtp and not (host and port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
            raise refuse(f'{smtp!r} is not host:port: write for example 127.0.0.1:25, or "" for files')
        return smtp


class LogLevel(StrEnum):
    """The least severe records that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a record is written: for people or for programs."""

    CONSOLE = "console"
    JSON = "json"


class LogSettings(Section):
    """What is written to standard error."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.CONSOLE


class Settings(Section):
    """Everything that a server is told. `loading.load_settings` makes it from file, environment and flags."""

    data_dir: Path = DEFAULT_DATA_DIR
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    queues: dict[QueueName, QueueSettings] = Field(default={})
    templates: dict[TemplateName, QueueTemplate] = Field(default={})
    """What queues that are made on first use look like, by the route that makes them."""
    samples: SamplesSettings = SamplesSettings()
    log: LogSettings = LogSettings()

    @field_validator("queues")
    @classmethod
    def _nothing_learned(cls, queues: dict[str, QueueSettings]) -> dict[str, QueueSettings]:
        for name, settings in queues.items():
            if settings.learned:
                raise refuse(f"{name}.learned is what the workers say, and can't be configured")
        return queues

    @property
    def store_url(self) -> str:
        """The store's URL with the data directory filled in, the same from any working directory."""
        if is_postgres(self.store.url):
            return self.store.url
        return self.store.url.replace("{data_dir}", str(self.data_dir.absolute()))

    @property
    def shown_store_url(self) -> str:
        """The same as it may be printed: without its password."""
        return shown_url(self.store_url)
