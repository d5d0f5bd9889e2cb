"""An owner of a queue with slots that is driven through anything that can happen to it, as in `test_owner_machine`."""

from pathlib import Path
from typing import Any

import pytest

from callboard.actors.store.opening import open_store
from tests.support.made_tasks import WALL
from tests.support.shared_stage import SharedStage
from tests.unit.test_owner_machine import OwnerMachine, run


class SharedMachine(OwnerMachine):
    """The same world, whose workers run several tasks at once."""

    def open_stage(self, folder: Path) -> SharedStage:
        return SharedStage(folder, self.model, self.store, f"s{self.queues}")

    def _bring(self, worker: Any, point: str, *, well: bool = True) -> None:
        for _ in range(4):
            if worker.run is None or point == worker.point:
                return
            if worker.bell is None and not worker.held and not worker.inbox and point != "between":
                return
            self.stage.step(worker, well=well)


@pytest.mark.timeout(600)
def test_with_slots_no_task_is_lost_run_twice_or_charged_wrongly() -> None:
    run(SharedMachine, examples=100, steps=50)


@pytest.mark.timeout(600)
def test_with_slots_nor_on_a_real_file(tmp_path: Path) -> None:
    class OnFile(SharedMachine):
        store = open_store(f"sqlite:///{tmp_path}/callboard.db", clock=lambda: WALL)

    try:
        run(OnFile, examples=20, steps=30)
    finally:
        assert OnFile.store is not None
        OnFile.store.close()
