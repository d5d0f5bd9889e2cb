from pathlib import Path

import pytest

from tests.support import server
from tests.support.server import Server

CONFIG = '[queues.mine]\nworker = "mine:hello"\nconcurrency = 1\n'


def test_jqs_25_a_function_beside_the_configuration_needs_one_line_to_be_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def hello(context):\n    return {'hello': context['name']}\n")
    ours = Server(tmp_path / "server", CONFIG)
    # A user starts it where his module stands; the path to it is in no environment variable.
    monkeypatch.setattr(server, "ROOT", tmp_path)
    with ours, ours.client() as client:
        task = client.enqueue("mine", {"name": "Ada"})
        assert client.wait(task.id, timeout=20).result == {"hello": "Ada"}
