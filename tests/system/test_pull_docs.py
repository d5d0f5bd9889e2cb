"""The consumers in docs/pull.md do what is written there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

DOCUMENT = ROOT / "docs" / "pull.md"


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(("language", "interpreter"), [("sh", "sh"), ("python", sys.executable)])
def test_the_consumer_of_the_document_works_the_queue_of_the_document(
    tmp_path: Path, language: str, interpreter: str
) -> None:
    with Server(tmp_path / "server", block("toml")) as server, server.client() as client:
        program = tmp_path / "consumer"
        program.write_text(block(language).replace("http://localhost:4000", server.url))
        with subprocess.Popen([interpreter, str(program)], stdin=subprocess.DEVNULL) as consumer:
            try:
                good = client.enqueue("photos", {"name": "Ada Lovelace"})
                bad = client.enqueue("photos", {"shoe": 7}, max_retries=0)
                greeted, failed = client.wait(good.id, 30), client.wait(bad.id, 30)
            finally:
                consumer.kill()
        assert (greeted.state, greeted.result, greeted.attempt) == ("completed", "hello Ada Lovelace", 1)
        assert (failed.state, failed.errors[0]["kind"], failed.errors[0]["message"]) == ("dead", "error", "it has no name")
