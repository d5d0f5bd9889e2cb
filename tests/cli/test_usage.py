"""Wrong usage, help and exit codes: what needs no server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callboard.actors.cli.running import run
from callboard.actors.runtime import make_private_folder, run_folder
from tests.support.running import ROOT

COMMANDS = [
    "serve", "bench", "enqueue", "tasks", "show", "retry", "cancel", "queues", "tree", "migrate", "events",
    "queue create", "queue pause", "queue resume", "queue scale", "queue drain", "queue delete",
    "dead list", "dead retry", "dead purge", "config check",
]  # fmt: skip

WRONG = [
    # arguments, what the one line says
    ("nosuch", "No such command 'nosuch'"),
    ("tasks --nosuch", "No such option: --nosuch"),
    ("enqueue", "Missing argument 'queue'"),
    ("enqueue sleep --context {", "is not JSON"),
    ("enqueue sleep --context [1]", "must be a JSON object"),
    ('enqueue sleep --context {"a":NaN}', "NaN is not a number in JSON"),
    ("enqueue sleep --priority urgent", 'must be "low", "high" or an integer'),
    ("enqueue sleep --max-retries 100", "less than or equal to 99"),
    ("enqueue sleep --max-retries x", "'--max-retries'"),
    ("enqueue sleep --max-attempts 0", "greater than or equal to 1"),
    ("enqueue sleep --max-attempts 3 --max-retries 3", "must be --max-retries + 1"),
    ("queue create q --set max_attempts=0", "max_attempts: must be greater than or equal to 1"),
    ("enqueue sleep --backoff-ms -1", "greater than or equal to 0"),
    ("enqueue sleep --delay 5", "'5' is not a duration: write for example 250ms"),
    ("tasks --state nosuch", "'nosuch' is not one of 'available'"),
    ("tasks --limit 0", "greater than or equal to 1"),
    ("show", "Missing argument"),
    ("retry", "Missing argument"),
    ("queue", "Missing command"),
    ("queue scale sleep", "Missing argument"),
    ("queue scale sleep -1", "-1"),
    ("queue create Sleep", "'Sleep'"),  # names are lower case
    ("queue create q --set tiemout=5s", "unknown option, did you mean timeout?"),
    ("queue create q --set timeout=5", "timeout"),
    ("queue create q --set timeout", "write KEY=VALUE"),
    ("queue create q --set backoff=1 --set backoff.base=2s", "backoff is set to a value already"),
    ("dead retry", "say which"),
    ("dead retry --all --queue q", "say which"),
    ("dead purge", "say which"),
    ("events --limit 0", "greater than or equal to 1"),
    ("serve --port 70000", "'--port'"),
]


@pytest.mark.parametrize(("typed", "said"), WRONG)
def test_wrong_usage_ends_with_2_and_one_line_that_says_what_is_wrong(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split(" ")) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.startswith("callboard: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_explains_itself_with_an_example(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*typed.split(" "), "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"Example: callboard {typed}" in help_text
    assert f"Usage: callboard {typed}" in help_text


def test_the_documentation_names_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"`{name}" not in text] == []


def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if name.split(" ")[0] not in shown] == []


NEED_A_SERVER = [
    "enqueue sleep", "tasks", "show x", "retry x", "cancel x", "queues", "tree", "dead list", "dead retry --all", "events",
    "dead purge --all", "queue pause sleep", "queue create q", "queue scale q 1", "queue delete q",
]  # fmt: skip


@pytest.mark.parametrize("typed", NEED_A_SERVER)
def test_where_no_server_runs_a_command_ends_with_3_and_says_how_to_start_one(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(typed.split(" ")) == 3
    said = "No server is running on ./var: start one with `callboard serve --data-dir ./var`"
    assert capsys.readouterr().err == f"callboard: {said}\n"
    assert list(tmp_path.iterdir()) == []


def test_the_data_directory_may_be_named_by_flag_or_by_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tasks", "--data-dir", str(tmp_path)]) == 3
    assert f"--data-dir {tmp_path}" in capsys.readouterr().err
    monkeypatch.setenv("CALLBOARD_DATA_DIR", str(tmp_path / "other"))
    assert run(["tasks"]) == 3
    assert f"--data-dir {tmp_path / 'other'}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_server_is_not_taken_for_none(tmp_path: Path) -> None:
    data_dir = tmp_path / "var"
    make_private_folder(data_dir)
    make_private_folder(run_folder(data_dir))
    program = (
        "import os, sys; from callboard.actors.cli.running import run; import callboard.actors.local_client\n"
        "import callboard.actors.cli.reading; os.seteuid(65534); sys.exit(run(sys.argv[1:]))"
    )
    for command in ("tasks", "queues"):
        typed = [sys.executable, "-c", program, command, "--data-dir", str(data_dir)]
        done = subprocess.run(typed, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "do this as the user that the server runs as" in done.stderr


def test_a_traceback_is_shown_only_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["tasks", "--data-dir", str(tmp_path)])
    assert "Traceback" not in capsys.readouterr().err
    for debugging in (["--debug", "tasks"], ["tasks", "--debug"]):
        assert run([*debugging, "--data-dir", str(tmp_path)]) == 3
        assert "Traceback" in capsys.readouterr().err


def test_an_error_of_our_own_making_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Path) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr("callboard.actors.cli.reading.Runtime.read", broken)
    assert run(["tasks", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "callboard: unexpected ValueError: two lines (--debug shows where)\n"


def test_ctrl_c_ends_a_command_as_shells_expect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("callboard.actors.cli.reading.Runtime.read", interrupted)
    assert run(["tasks", "--data-dir", str(tmp_path)]) == 130


def test_the_version_is_told_without_loading_what_is_heavy() -> None:
    program = (
        "import sys\nfrom callboard.actors.cli.running import run\ncode = run(['--version'])\n"
        "heavy = {'thespian', 'sqlalchemy', 'pydantic', 'starlette', 'httpx2', 'rich'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    version, loaded = done.stdout.splitlines()
    assert version.startswith("callboard 0.")
    assert loaded == "0 []"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    program = "import sys; from callboard.actors.cli import main; sys.argv = ['callboard', '--help']; main()"
    done = subprocess.run(f'{sys.executable} -c "{program}" | true', shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
