"""The owner of a queue, driven without actors: what it stores, what it hands out, and what it does when it can't."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.errors import StoreUnavailable
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage

ONE_WORKER = QueueSettings(worker="tests:work", concurrency=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=ONE_WORKER)
    stage.staff()
    yield stage
    stage.close()


def test_a_queue_with_nothing_to_do_notices_that_its_store_is_well_again(stage: Stage) -> None:
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    stage.owned.breakage = Breakage.NONE
    stage.wait_for_next_look()
    assert stage.owner.trouble == ""
    assert stage.owner.next_look(stage.now) > stage.mono
