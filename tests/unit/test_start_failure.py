"""What a queue says of workers that can't start."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.handler_loading import HandlerNotFound, load_handler
from callboard.actors.runners.call import MAX_MESSAGE_CHARACTERS
from callboard.actors.start_failure import describe_start_failure

MODULE = "a_teams_module"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that can be imported as MODULE."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / f"{MODULE}.py"
    sys.modules.pop(MODULE, None)


def why(attribute: str = "Tasks") -> str:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - anything a team's module raises
        load_handler(f"{MODULE}:{attribute}")
    return describe_start_failure(raised.value)


@pytest.mark.parametrize(
    ("code", "said", "line"),
    [
        # the line that imports, not importlib
        ("\nimport not_there", "ModuleNotFoundError: No module named 'not_there'", 2),
        # the constructor, not the code of ours that calls it
        ("class Tasks:\n def __init__(self):\n  raise OSError('no disk')", "OSError: no disk", 3),
        # the team's call into a library, not the library's own line
        ("import json\n\njson.loads('x')", "JSONDecodeError: ", 3),
        # an exception whose text can't be made
        ("class E(Exception):\n def __str__(self): 1/0\nraise E", "E: (its text can't be made)", 3),
    ],
)
def test_the_exception_and_where_it_was_raised(module: Path, code: str, said: str, line: int) -> None:
    module.write_text(code)
    described = why()
    assert described.startswith(said)
    assert described.endswith(f" ({module}:{line})")


def test_where_nothing_of_the_teams_was_reached_no_file_is_named(module: Path) -> None:
    module.write_text("")
    with pytest.raises(HandlerNotFound) as raised:
        load_handler(f"{MODULE}:Missing")
    assert raised.tb is not None
    raised.value.__traceback__ = raised.tb.tb_next  # without the frame of this test, which is none of ours
    assert describe_start_failure(raised.value) == f"HandlerNotFound: module {MODULE!r} has no 'Missing'"


def test_a_text_of_any_length_is_cut(module: Path) -> None:
    module.write_text("raise ValueError('x' * 100_000)")
    assert len(why()) < MAX_MESSAGE_CHARACTERS + 500
