"""The commands on a PostgreSQL store: nothing that is printed holds its password."""

import json
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.local_client import LocalClient
from tests.support.ledger import PATH, Ledger
from tests.support.postgres import PostgresServer
from tests.support.server import Server
from tests.support.serving import typed_here

CONFIG = f"""
[queues.one]
worker = "{PATH}"
[queues.reports]
worker = "callboard.actors.samples:GenerateReport"
"""
PASSWORD = "s3cret"


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    """The server trusts everybody, so a password is never asked for; it must not be shown all the same."""
    return postgres_server.new_database().replace("postgres@", f"postgres:{PASSWORD}@")


def test_a_store_is_migrated_checked_served_and_read(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_STORE__URL", url)
    data_dir, ledger = tmp_path / "data", Ledger(tmp_path / "ledger")
    shown = url.replace(PASSWORD, "***")
    migrated = [typed_here("migrate", "--data-dir", str(data_dir)) for _ in range(2)]
    assert [typed.out for typed in migrated] == [f"{shown} was brought up to date\n", f"{shown} is up to date\n"]
    assert typed_here("migrate", "--json", "--data-dir", str(data_dir)).json == {"store": shown, "migrated": False}

    config = tmp_path / "c.toml"
    config.write_text(CONFIG)
    assert f"store {shown}" in typed_here("config", "check", "--config", str(config)).out
    assert typed_here("config", "check", "--json", "--config", str(config)).json["store"]["url"] == shown

    with Server(tmp_path, CONFIG, data_dir=data_dir) as server:
        with LocalClient(data_dir) as client:
            done = client.enqueue("one", ledger.context())
            assert client.wait(done.id).state == "completed"
        report = _report(server)
        assert (report["state"], report["result"]["rows"]) == ("completed", 1)
        printed = [typed_here(*words, "--data-dir", str(data_dir)) for words in (["tree"], ["tree", "--json"], ["queues"])]
        assert all(typed.code == 0 for typed in printed)
    assert PASSWORD not in server.log() + "".join(typed.out + typed.err for typed in printed)

    # No server runs any more.
    listed = typed_here("tasks", "--queue", "one", "--json", "--data-dir", str(data_dir))
    assert [task["id"] for task in listed.json] == [done.id]
    assert typed_here("show", done.id, "--data-dir", str(data_dir)).code == 0


def _report(server: Server) -> dict[str, Any]:
    task = server.post("/api/tasks", {"queue": "reports", "context": {"reportType": {"queue": "one"}}})["data"]
    found: dict[str, Any] = server.get(f"/api/tasks/{task['id']}", wait=20)["data"]
    return found


def test_a_start_that_can_not_reach_its_database_ends_with_one_line(tmp_path: Path) -> None:
    url = f"postgresql://me:{PASSWORD}@/nowhere?host={tmp_path}"
    server = Server(tmp_path, CONFIG, arguments=("--store", url))
    server.launch()
    assert server.process is not None
    assert server.process.wait(40) == 1
    last = server.log().strip().splitlines()[-1]
    assert last.startswith("callboard: ")
    assert f"(postgresql://me:***@/nowhere?host={tmp_path})" in last
    assert PASSWORD not in server.log()
    assert server.end() == set()


def test_the_runtime_file_that_holds_the_url_is_private(url: str, tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG, arguments=("--store", url)) as server:
        runtime = server.data_dir / "run" / "runtime.json"
        assert json.loads(runtime.read_text())["store_url"] == url
        assert runtime.stat().st_mode & 0o077 == 0
