"""Between the edge and the Registry: which queues there are, and who owns them."""

from dataclasses import dataclass

from thespian.actors import ActorAddress

from callboard.conf.settings import QueueSettings


@dataclass(frozen=True)
class FindQueue:
    """Ask where a queue's owner is; one that sleeps is started first if `wake`, else it is refused as idle."""

    request_id: str
    queue: str
    wake: bool = True


@dataclass(frozen=True)
class QueueFound:
    """Where a queue's owner is and what its tasks default to."""

    request_id: str
    queue: str
    address: ActorAddress
    pid: int
    started: float
    """Start time of that pid (as in `processes.Ident`)."""
    incarnation: int
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class ListQueues:
    """Ask for the names of all queues."""

    request_id: str


@dataclass(frozen=True)
class QueuesListed:
    """All queues by name, and for those that have no live owner here the reason why.

    standby: those of them that another server owns. asleep: those that sleep, which are not down.
    """

    request_id: str
    names: tuple[str, ...]
    down: dict[str, str]
    standby: tuple[str, ...] = ()
    asleep: tuple[str, ...] = ()


@dataclass(frozen=True)
class PutQueue:
    """Create a queue or replace its settings; survives a restart."""

    request_id: str
    queue: str
    settings: QueueSettings


@dataclass(frozen=True)
class MakeQueue:
    """Create a queue from a template unless there is one of this name; answered with QueuePut."""

    request_id: str
    queue: str
    settings: QueueSettings


@dataclass(frozen=True)
class QueuePut:
    """The queue has these settings now."""

    request_id: str
    queue: str
    created: bool


@dataclass(frozen=True)
class DeleteQueue:
    """Delete a queue: only an empty one (nothing unfinished, nothing dead) unless forced."""

    request_id: str
    queue: str
    force: bool


@dataclass(frozen=True)
class QueueDeleted:
    """The queue and its `tasks` tasks are gone."""

    request_id: str
    queue: str
    tasks: int
