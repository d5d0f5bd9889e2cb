"""Between the Registry and its Queues: coming up, settings, stopping."""

from dataclasses import dataclass, field
from typing import Any

from thespian.actors import ActorAddress

from callboard.conf.settings import QueueSettings


@dataclass(frozen=True)
class StartQueue:
    """Own this queue from now on."""

    queue: str
    data_dir: str
    store_url: str = field(repr=False)  # it may hold a password
    boot_id: str
    samples: dict[str, Any]
    log_level: str
    log_format: str
    events: ActorAddress | None = None
    """As in `PublishEvents`."""
    staffed: bool = True
    """Have all workers ready from the start; else as many as there is work for."""
    errand: bool = False
    """It was woken only to remove old tasks, and may sleep again as soon as it has."""
    rested: bool = False
    """Its last owner went to sleep, and had told all its events."""


@dataclass(frozen=True)
class DeadLetterAt:
    """Forward what dies to this address from now on.

    address: None: another server owns the dead letter, and the Queue is to log what dies.
    """

    address: ActorAddress | None


@dataclass(frozen=True)
class QueueReady:
    """The Queue owns its tasks and takes more."""

    queue: str
    pid: int
    incarnation: int
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class QueueNotReady:
    """The Queue can't own its tasks (store down, …) and ends itself; the Registry tries again with backoff."""

    queue: str
    reason: str


@dataclass(frozen=True)
class QueueStandsBy:
    """Another server on the same store owns the queue; this one takes over when that has let go of it."""

    queue: str
    holder: str
    """Who owns it, in words."""


@dataclass(frozen=True)
class QueueGone:
    """The queue is not in the store any more: another server has deleted it. The Queue ends itself."""

    queue: str


@dataclass(frozen=True)
class QueueAsleep:
    """The Queue has nothing to do and no workers, takes no requests any more, and is to be ended.

    settings_version: those that it decided with. due_at: when its next waiting task is due, None without one, in
    microseconds. history: it keeps ended tasks that its retention will remove one day.
    """

    queue: str
    incarnation: int
    settings_version: int
    due_at: int | None
    history: bool


@dataclass(frozen=True)
class TaskMoved:
    """A task was moved to this queue and is due then: whoever hears it sees that the queue looks for it."""

    queue: str
    run_at: int


@dataclass(frozen=True)
class SettingsChanged:
    """The Queue's settings are now these; sent by the Queue when it changed them itself (scale)."""

    queue: str
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class ApplySettings:
    """The Registry has stored new settings for this queue."""

    queue: str
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class StopQueue:
    """Hand out nothing more, let what runs end within the grace, store everything, then say QueueStopped."""

    request_id: str
    queue: str
    grace_seconds: float


@dataclass(frozen=True)
class QueueStopped:
    """The Queue has stored everything and may be ended."""

    request_id: str
    queue: str
    interrupted: int
