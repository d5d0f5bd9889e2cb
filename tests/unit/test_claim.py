"""A queue's claim: taken, waited for, given up."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from callboard.actors import claim
from callboard.actors.claim import Claim
from callboard.actors.errors import OwnedElsewhere, StoreUnavailable
from callboard.actors.store.memory import MemoryStore
from tests.support.made_tasks import WALL


class SharedStore(MemoryStore):
    """A store that somebody else uses too: `trouble` is raised by whoever wants to own a queue."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: WALL)
        self.trouble: Callable[[], NoReturn] | None = None

    def own(self, queue: str) -> Any:
        if self.trouble is not None:
            self.trouble()
        return super().own(queue)


def raising(error: Exception) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    store = SharedStore()
    store.put_queue("mail", "{}", "", WALL)
    monkeypatch.setattr(claim, "open_store", lambda _url: store)
    return store


def test_a_free_queue_is_taken_at_once(store: SharedStore) -> None:
    taken = Claim("", "mail").take()
    assert taken is not None
    assert taken[1].settings_version == 1


def test_a_queue_of_another_server_is_waited_for(store: SharedStore) -> None:
    waiting = Claim("", "mail")
    store.trouble = raising(OwnedElsewhere("mail", "another server, on db2 (process 7)"))
    assert waiting.take() is None
    assert waiting.holder == "another server, on db2 (process 7)"
    store.trouble = raising(StoreUnavailable("no route"))
    assert waiting.take() is None
    assert waiting.holder == "nobody can tell: no route"
    store.trouble = None
    assert waiting.take() is not None


def test_a_store_that_never_answered_is_a_failure(store: SharedStore) -> None:
    store.trouble = raising(StoreUnavailable("no route"))
    with pytest.raises(StoreUnavailable):
        Claim("", "mail").take()


def test_a_queue_that_is_gone_is_said_to_be(store: SharedStore) -> None:
    waiting = Claim("", "mail")
    store.trouble = raising(OwnedElsewhere("mail", "another server"))
    assert waiting.take() is None
    store.trouble = None
    store.delete_queue("mail")
    with pytest.raises(KeyError):
        waiting.take()
