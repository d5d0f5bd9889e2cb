"""Moving tasks while the owners of both queues are killed: each is in one of them, and runs once."""

import threading
from pathlib import Path

from callboard.actors.errors import CallboardError
from tests.support.killing import kill
from tests.support.ledger import PATH, Ledger
from tests.support.server import Server

CONFIG = "".join(f'[queues.{name}]\nworker = "{PATH}"\nconcurrency = 1\n' for name in ("here", "there"))
TASKS, KILLS = 40, 6


def test_no_move_loses_or_doubles_a_task_whoever_dies(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        for queue in ("here", "there"):
            server.post(f"/api/queues/{queue}/pause")
        ids = [client.enqueue("here", ledger.context()).id for _ in range(TASKS)]
        over = threading.Event()
        moved: list[str] = []

        def move() -> None:
            with server.client() as mover:
                while not over.is_set():
                    for task_id in ids:
                        to = "there" if mover.get(task_id).queue == "here" else "here"
                        try:
                            mover.update(task_id, queue=to, priority=len(moved) % 3)
                        except CallboardError:  # its answer was lost, or it took too long
                            continue
                        moved.append(task_id)

        thread = threading.Thread(target=move)
        thread.start()
        try:
            for number in range(KILLS):
                before = len(moved)
                while len(moved) < before + 10:
                    thread.join(0.01)
                kill(server.owner(("here", "there")[number % 2]))
        finally:
            over.set()
            thread.join()
        for queue in ("here", "there"):
            server.post(f"/api/queues/{queue}/resume")
        assert [client.wait(task_id).state for task_id in ids] == ["completed"] * TASKS
        counts = [server.queue(queue)["counts"] for queue in ("here", "there")]
        assert sum(count["completed"] for count in counts) == TASKS
        assert sum(sum(count.values()) for count in counts) == TASKS
    assert sorted(run.task for run in ledger.runs()) == sorted(ids)
