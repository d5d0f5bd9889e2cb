"""A queue that is deleted leaves nothing behind, neither in the store nor among the files of the running server."""

from pathlib import Path

import pytest

from callboard.actors.runtime import queue_folder
from tests.support import plain_http
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server


@pytest.mark.parametrize("busy", [False, True])
def test_the_files_of_a_deleted_queue_s_workers_are_removed(tmp_path: Path, *, busy: bool) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with Server(tmp_path) as server, server.client() as client:
        url = f"{server.url}/api/queues/passing"
        assert plain_http.put(url, json={"worker": PATH, "concurrency": 1}, timeout=30).status_code == 201
        client.wait(client.enqueue("passing", ledger.context()).id)
        if busy:
            client.enqueue("passing", ledger.context(until=str(tmp_path / "never")))
            eventually(ledger.running)
        folder = queue_folder(server.data_dir, "passing")
        assert list(folder.glob("*.journal"))
        assert plain_http.delete(f"{url}?force=true", timeout=30).status_code == 204
        assert not folder.exists()
        assert plain_http.put(url, json={"worker": PATH, "concurrency": 1}, timeout=30).status_code == 201
        assert client.wait(client.enqueue("passing", ledger.context()).id).state == "completed"
        assert list(folder.glob("*.journal"))
