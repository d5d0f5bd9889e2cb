"""What programs import from callboard.actors."""

import subprocess
import sys

import pytest

import callboard.actors


def printed_by(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


ORDERS = [
    # ways to load the module `task` before and after the decorator of the same name
    "from callboard.actors import task; from callboard.actors.task import Task; import callboard.actors.task",
    "from callboard.actors.task import Task; import callboard.actors.task; from callboard.actors import task",
    "import callboard.actors.messages; from callboard.actors import task",
]


@pytest.mark.parametrize("order", ORDERS)
def test_task_is_the_decorator_in_whatever_order_things_are_imported(order: str) -> None:
    program = f"import callboard.actors\n{order}\nprint(task.__module__, callboard.actors.task is task)"
    assert printed_by(program) == "callboard.actors.handlers True"


def test_whoever_writes_a_worker_does_not_load_the_clients() -> None:
    program = (
        "import sys; from callboard.actors import Discard, Error, Ok, Worker, task\n"
        "print(sorted({'httpx2', 'thespian', 'pydantic', 'sqlalchemy', 'typer', 'rich'} & set(sys.modules)))"
    )
    assert printed_by(program) == "[]"


@pytest.mark.parametrize("name", callboard.actors.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(callboard.actors, name) is not None


def test_an_unknown_name_is_an_ordinary_mistake() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = callboard.actors.Cleint
