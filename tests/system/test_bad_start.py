"""A start that can't be: one line that says why, the exit code, and nothing touched."""

import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support import plain_http
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server
from tests.support.serving import callboard

LOG_LINE = r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(info|warning|error) "
FINE = f'[queues.fine]\nworker = "{PATH}"\nconcurrency = 1\n'


def refused(server: Server) -> str:
    """Return the one line that `serve` says, apart from its log, where it can't start."""
    server.launch()
    assert server.process is not None
    try:
        assert server.process.wait(30) == 1
    finally:
        server.end()
    assert server.ready_line() == ""
    said = server.log()
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if not re.match(LOG_LINE, line)]
    assert line.startswith("callboard: ")
    return line


def second_server(tmp_path: Path) -> Server:
    """Return a server that is to start on the data of another, with one ended task in it."""
    with Server(tmp_path / "first", FINE) as server, server.client() as client:
        ledger = Ledger(tmp_path / "ledger")
        client.wait(client.enqueue("fine", ledger.context()).id)
    return Server(tmp_path / "again", FINE, data_dir=server.data_dir)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[http]\nprot = 1\n", "did you mean port?"),
        ("[queue.fine]\n", "did you mean queues?"),
        ("[queues.fine]\nconcurency = 1\n", "did you mean concurrency?"),
        ('[queues.fine]\ntimeout = "1 fortnight"\n', "[queues.fine] timeout"),
        ('[queues.fine]\nbackoff = { base = "-1s" }\n', "base"),
        ("[queues.fine\n", "line 1"),
        ("[queues.'Not A Name']\n", "Not A Name"),
        ('[store]\nurl = "oracle://there"\n', "oracle"),
    ],
)
def test_a_configuration_that_is_wrong_is_told(config: str, says: str, tmp_path: Path) -> None:
    server = Server(tmp_path, config)
    assert says in refused(server)
    assert not server.data_dir.exists()


def test_an_environment_variable_that_is_wrong_is_told(tmp_path: Path) -> None:
    assert "did you mean" in refused(Server(tmp_path, FINE, environment={"CALLBOARD_HTTP__PROT": "1"}))


def test_a_port_that_is_in_use_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path, FINE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.port = taken.getsockname()[1]
        assert f"port {server.port}: Address already in use" in refused(server)


def test_a_data_directory_that_is_in_use_is_told_and_its_server_goes_on(tmp_path: Path) -> None:
    with Server(tmp_path / "first", FINE) as first:
        before = first.processes()
        second = Server(tmp_path / "second", FINE, data_dir=first.data_dir)
        assert f"in use by the server with process id {first.part('supervisor').pid} on {first.url}" in refused(second)
        assert first.processes() == before
        assert first.queue("fine")["state"] == "running"


def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path, FINE)
    server.data_dir.write_text("mine")
    assert "cannot be used: " in refused(server)
    assert server.data_dir.read_text() == "mine"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Have the kernel refuse writing in a folder, to root as well."""
    subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_data_directory_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path, FINE)
    server.data_dir.mkdir()
    with read_only(server.data_dir):
        assert "cannot be used: Read-only file system" in refused(server)


def test_a_database_that_is_corrupted_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    server = second_server(tmp_path)
    database = server.data_dir / "callboard.db"
    damaged = b"not at all a database" * 1_000
    database.write_bytes(damaged)
    database.with_name("callboard.db-wal").unlink(missing_ok=True)  # SQLite would go on and write it into the file
    said = refused(server)
    assert "not a database" in said
    assert "restore a backup" in said
    assert database.read_bytes() == damaged


def test_a_database_of_a_newer_schema_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    server = second_server(tmp_path)
    with closing(sqlite3.connect(server.data_dir / "callboard.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0999'")
    said = refused(server)
    assert "0999" in said
    assert "upgrade Callboard" in said
    with closing(sqlite3.connect(server.data_dir / "callboard.db")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0999",)
        assert database.execute("SELECT count(*) FROM tasks WHERE state = 'completed'").fetchone() == (1,)


def test_pages_that_are_damaged_are_told_by_a_server_that_goes_on(tmp_path: Path) -> None:
    server = second_server(tmp_path)
    database = server.data_dir / "callboard.db"
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tasks'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    with server:
        for answer in (
            plain_http.post(f"{server.url}/api/tasks", json={"queue": "fine"}, timeout=30),
            plain_http.get(f"{server.url}/api/tasks", timeout=30),
        ):
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "malformed" in answer.json()["detail"]
            assert "restore a backup" in answer.json()["detail"]


def test_a_worker_that_can_not_be_imported_fails_the_check_and_degrades_its_queue(tmp_path: Path) -> None:
    config = f'{FINE}[queues.broken]\nworker = "no_such_module:Worker"\n'
    server = Server(tmp_path, config)
    checked = callboard("config", "check", "--config", str(server.config))
    assert (checked.code, checked.out) == (1, "")
    assert "[queues.broken] worker: no_such_module can't be imported" in checked.err
    with server:
        queue = eventually(lambda: (shown := server.queue("broken"))["state"] == "degraded" and shown)
        assert "No module named 'no_such_module'" in queue["why"]
        assert server.queue("fine")["state"] == "running"
