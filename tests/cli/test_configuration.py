"""config check, migrate, and what keeps serve from starting: real files, no server that stays."""

import json
import socket
from pathlib import Path

import pytest

from callboard.actors.cli.running import run
from callboard.actors.store.opening import open_store
from tests.support.serving import callboard


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_shipped_configuration_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check"]) == 0
    assert "is fine: queues sleep, default" in capsys.readouterr().out


def test_the_checked_configuration_is_shown_whole_but_for_its_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "c.toml", '[http]\ntoken = "geheim"\nport = 4321\n[queues.q]\nconcurrency = 0\n')
    assert run(["config", "check", "--json", "--config", file]) == 0
    shown = capsys.readouterr().out
    assert "geheim" not in shown
    assert json.loads(shown)["http"] | {"max_body": ""} == {
        "host": "127.0.0.1", "port": 4321, "token": "set", "max_body": "",
    }  # fmt: skip


def test_a_queue_that_is_only_pulled_from_needs_no_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.toml", "[queues.photos]\n")
    assert run(["config", "check", "--config", file]) == 0
    said = capsys.readouterr()
    assert "[queues.photos] without a worker, command or types, its tasks are for consumers" in said.out
    assert said.err == ""
    assert run(["config", "check", "--config", file, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["queues"]) == ["photos"]


BAD = [
    # the file, what is said
    ("[queues.q]\nconcurency = 1\n", "[queues.q] concurency: unknown option, did you mean concurrency?"),
    ('[queues.q]\ntimeout = "soon"\n', "'soon' is not a duration"),
    ("[queues.q\n", "is not TOML"),
    ('[queues.q]\nworker = "nosuch.module:Worker"\n', "nosuch.module can't be imported"),
    ('[http]\nhost = "0.0.0.0"\n[queues.q]\nconcurrency = 0\n', "set [http] token"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_bad_configuration_fails_the_check_and_is_explained(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "check", "--config", write(tmp_path / "c.toml", text)]) == 1
    assert said in capsys.readouterr().err


def test_each_problem_of_a_configuration_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.toml", "[http]\nprot = 1\n[queues.q]\nslots = 0\n")
    assert run(["config", "check", "--config", file]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("callboard: [") for line in lines)


def test_serve_refuses_a_configuration_with_an_unknown_key(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "[htp]\nport = 1\n")
    refused = callboard("serve", "--config", file, "--data-dir", str(tmp_path / "var"))
    assert (refused.code, refused.out) == (1, "")
    assert "htp" in refused.err
    assert not (tmp_path / "var").exists()


def test_serve_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = callboard("serve", "--port", port, "--data-dir", str(tmp_path / "var"))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.count("\n") == 1
    assert port in refused.err


def test_migrate_makes_a_store_and_then_finds_it_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir = tmp_path / "var"
    assert run(["migrate", "--data-dir", str(data_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"store": f"sqlite:///{data_dir}/callboard.db", "migrated": True}
    assert run(["migrate", "--data-dir", str(data_dir)]) == 0
    assert capsys.readouterr().out.endswith("callboard.db is up to date\n")
    assert data_dir.stat().st_mode & 0o077 == 0


def test_migrate_names_what_is_wrong_with_a_damaged_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "callboard.db").write_bytes(b"no database at all" * 100)
    assert run(["migrate", "--data-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "callboard.db" in said
    assert said.count("\n") == 1


def test_tasks_are_listed_without_a_server_once_there_is_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(f"sqlite:///{tmp_path}/callboard.db").close()
    assert run(["tasks", "--data-dir", str(tmp_path), "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert run(["show", "nosuch", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "callboard: no task has the id nosuch\n"


def test_the_store_may_be_named_by_variable_where_no_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(f"sqlite:///{tmp_path}/elsewhere.db").close()
    monkeypatch.setenv("CALLBOARD_STORE__URL", "sqlite:///{data_dir}/elsewhere.db")
    assert run(["tasks", "--data-dir", str(tmp_path), "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
