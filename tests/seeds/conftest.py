"""What the tests of one seed work with: one server for all of them, its client, and a ledger for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import Client
from tests.support.ledger import Ledger
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the configuration that the test's module has as `CONFIG`."""
    with Server(tmp_path_factory.mktemp("seed"), request.module.CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")
