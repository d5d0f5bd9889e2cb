"""Between the server and its Registry: coming up and shutting down."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StartRegistry:
    """Bring up the Registry: queues of the configuration and of the store. Paths and URL as texts, ready to use."""

    request_id: str
    settings: dict[str, Any] = field(repr=False)
    """`Settings.model_dump(mode="json")`."""
    data_dir: str
    store_url: str = field(repr=False)  # it may hold a password
    boot_id: str


@dataclass(frozen=True)
class RegistryReady:
    """The Registry has asked all its queues to start and answers look-ups."""

    request_id: str
    pid: int


@dataclass(frozen=True)
class ShutDown:
    """Let running tasks end within the grace, give back the rest, stop all queues."""

    request_id: str
    grace_seconds: float


@dataclass(frozen=True)
class ShutDownDone:
    """All queues have stopped; `interrupted` tasks were still running and go back uncharged."""

    request_id: str
    interrupted: int
