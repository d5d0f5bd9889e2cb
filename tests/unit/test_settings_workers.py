import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from callboard.conf.loading import load_settings
from callboard.conf.settings import QueueSettings
from callboard.conf.worker_paths import check_worker, check_workers, only_fetched
from tests.support.polling import eventually

GOOD = """
print("noise that must not be taken for an answer")
def function(context): ...
class Class:
    def perform(self, task): ...
    class Inner:
        def perform(self, task): ...
class NoPerform: ...
value = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a module `mine` that a worker path can name; it stands in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.py"


@pytest.mark.parametrize("path", ["mine:function", "mine:Class", "mine:Class.Inner"])
def test_a_worker_that_can_be_used_is_found_in_the_working_directory(module: Path, path: str) -> None:
    module.write_text(GOOD)
    assert check_worker(path) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("mine:absent", "module mine has no absent"),
        ("mine:NoPerform", "mine:NoPerform is a class without a method perform(task)"),
        ("mine:value", "mine:value is neither a class nor a function"),
        ("mine", "'mine' is not of the form module:attribute"),
        (
            "not_there_at_all:x",
            "not_there_at_all can't be imported: ModuleNotFoundError: No module named 'not_there_at_all'",
        ),
    ],
)
def test_a_worker_path_that_leads_to_nothing_usable_is_explained(module: Path, path: str, said: str) -> None:
    module.write_text(GOOD)
    assert check_worker(path) == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no\\nway')", "RuntimeError: no way"),  # in one line
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import os; os._exit(0)", "it ends the process with exit code 0"),  # though that means success
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ends the process by SIGSEGV"),
        ("def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_explained_and_harms_nobody(module: Path, source: str, said: str) -> None:
    module.write_text(source)
    assert check_worker("mine:x") == f"mine can't be imported: {said}"


def test_a_module_that_never_ends_importing_is_given_up(module: Path) -> None:
    module.write_text("import time\ntime.sleep(600)")
    assert check_worker("mine:x", seconds=0.3) == "mine can't be imported: it takes longer than 0.3 s"


def test_what_an_import_has_started_is_ended_with_it(module: Path) -> None:
    module.write_text(
        "import pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\n"
        "def x(context): ...\n"
    )
    assert check_worker("mine:x") is None
    child = int(module.with_name("pid").read_text())

    def gone() -> bool:
        try:
            return psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    assert eventually(gone)


def test_a_check_imports_nothing_into_this_process(module: Path) -> None:
    module.write_text(GOOD)
    assert check_worker("mine:function") is None
    assert "mine" not in sys.modules


def test_over_http_only_what_was_written_as_a_handler_is_taken(module: Path) -> None:
    classes = "from callboard.actors import Worker, task\n\nclass Mine(Worker): pass\n\n"
    module.write_text(classes + "@task\ndef marked(c): ...\n\ndef any_(c): ...")
    assert check_worker("mine:Mine", declared=True) is None
    assert check_worker("mine:marked", declared=True) is None
    assert check_worker("mine:any_") is None
    assert "neither a Worker nor" in str(check_worker("mine:any_", declared=True))
    assert "neither a Worker nor" in str(check_worker("subprocess:Popen", declared=True))


def test_each_queue_whose_workers_cannot_be_used_is_named(module: Path) -> None:
    module.write_text(GOOD)
    queues = {
        "good": QueueSettings.model_validate({"worker": "mine:function", "types": {"A": "mine:Class"}}),
        "bad": QueueSettings.model_validate({"worker": "mine:absent", "types": {"A": "mine:value", "B": "mine:Class"}}),
        "idle": QueueSettings(concurrency=0),
        "none": QueueSettings(),
    }
    assert check_workers(queues) == [
        "[queues.bad] worker: module mine has no absent",
        "[queues.bad] types.A: mine:value is neither a class nor a function",
    ]


def test_a_queue_that_is_only_pulled_from_is_no_problem_and_noted() -> None:
    queues = {"photos": QueueSettings(), "run": QueueSettings.model_validate({"command": ["sh"]})}
    assert check_workers(queues) == []
    assert only_fetched(queues) == [
        "[queues.photos] without a worker, command or types, its tasks are for consumers that fetch them"
    ]


def test_the_shipped_configuration_names_workers_that_exist() -> None:
    assert check_workers(load_settings(None, {}, {}).queues) == []


def test_the_settings_do_not_import_what_only_workers_need() -> None:
    heavy = "{'thespian', 'sqlalchemy', 'structlog', 'starlette'}"
    code = f"import sys, callboard.conf.loading; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
