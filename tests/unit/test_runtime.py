"""The runtime file."""

import stat
from pathlib import Path

import pytest

from callboard.actors.processes import Ident
from callboard.actors.runtime import (
    Runtime,
    machine_boot_id,
    make_private_folder,
    run_folder,
    runtime_path,
)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    make_private_folder(run_folder(tmp_path))
    return Runtime(
        http="http://127.0.0.1:4000",
        admin_port=4321,
        key_path=str(tmp_path / "run" / "key"),
        registry="127.0.0.1:4322",
        store_url="sqlite:///x.db",
        data_dir=str(tmp_path),
        pids={"server": Ident(7, 12.34)},
    )


def test_what_was_written_is_read(runtime: Runtime, tmp_path: Path) -> None:
    runtime.write()
    assert Runtime.read(tmp_path) == runtime
    assert runtime.boot_id == machine_boot_id() != ""


def test_the_file_is_private_and_alone(runtime: Runtime, tmp_path: Path) -> None:
    runtime.write()
    runtime.write()
    assert stat.S_IMODE(runtime_path(tmp_path).stat().st_mode) == 0o600
    assert list(run_folder(tmp_path).iterdir()) == [runtime_path(tmp_path)]


def test_without_a_file_there_is_no_runtime(tmp_path: Path) -> None:
    assert Runtime.read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",  # cut off
        "[]",  # something else
        "{}",  # without a version
        '{"version": 99}',  # of another version
        '{"version": 1}',  # without the rest
        '{"version": 1, "pids": {"server": 3}}',  # of another form
    ],
)
def test_a_file_that_cannot_be_understood_is_no_runtime(runtime: Runtime, tmp_path: Path, text: str) -> None:
    runtime.write()
    runtime_path(tmp_path).write_text(text)
    assert Runtime.read(tmp_path) is None


def test_a_failed_write_leaves_nothing_behind(runtime: Runtime, tmp_path: Path) -> None:
    runtime_path(tmp_path).mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # which one depends on the platform
        runtime.write()
    assert list(run_folder(tmp_path).iterdir()) == [runtime_path(tmp_path)]


def test_a_private_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
