"""The Registry without an actor system, on a real store, for tests of what it answers and whom it tells."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from callboard.actors.children import Child, Children
from callboard.actors.messages import QueueReady, StartRegistry
from callboard.actors.processes import Ident
from callboard.actors.registry import RegistryActor
from callboard.actors.roll import Entry, Roll
from callboard.actors.store.opening import open_store
from callboard.actors.store_visits import StoreVisits
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import WALL

OLD = QueueSettings(worker="tests:work", concurrency=1)
NEW = QueueSettings(worker="tests:work", concurrency=7)


class PlayedRegistry(RegistryActor):
    """Each queue's child is known by its name. sent: what it has sent, and to whom; killed: whom it has ended."""

    def __init__(self, store_url: str, data_dir: Path) -> None:
        self.roll = Roll()
        self._next_rescan = float("inf")
        self.visits = StoreVisits()
        self.awaited: dict[str, QueueSettings] = {}
        self.next_clearing = float("inf")
        self._clearing = None
        self.start_message = StartRegistry("r", {}, str(data_dir), store_url, "boot")
        self.sent: list[tuple[Any, Any]] = []
        self.children = Children()
        self.killed: list[Child] = []
        self._events = None
        self._stop_reply = None
        self._watched = set()

    @property
    def events_to(self) -> None:
        return None

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def child_at(self, sender: Any) -> Child | None:
        entry = self.roll.get(sender)
        return None if entry is None else entry.child

    def mark_ready(self, child: Child) -> None:
        pass

    def kill_child(self, child: Child) -> None:
        self.killed.append(child)

    def go_on(self) -> None:
        self._finish_stop(time.monotonic())

    def starting(self, name: str) -> Entry:
        entry = self.roll.add(name)
        child = SimpleNamespace(name=name, ident=Ident(4711, 1.0), address=name, uptime=lambda _: 1.0)
        entry.child = cast(Child, child)
        return entry

    def come_up(self, name: str, settings: QueueSettings = OLD, version: int = 1) -> None:
        self.queue_ready(QueueReady(name, 4711, 3, settings, version), name)

    def ended(self, entry: Entry) -> None:
        assert entry.child is not None
        self.child_exited(entry.child, -9)

    def sent_of(self, kind: type) -> list[tuple[Any, Any]]:
        return [(to, message) for to, message in self.sent if isinstance(message, kind)]


def registry_of_mail(folder: Path) -> PlayedRegistry:
    """Make one on a new store that knows the queue `mail`."""
    url = f"sqlite:///{folder / 'callboard.db'}"
    store = open_store(url)
    store.put_queue("mail", OLD.model_dump_json(), "", WALL)
    store.close()
    return PlayedRegistry(url, folder)
