"""A client of an application whose actors are played."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.http.edges import PlayedActors, app_over, played_actors


@pytest.fixture
def actors() -> PlayedActors:
    return played_actors()


@pytest.fixture
def client(actors: PlayedActors) -> Iterator[TestClient]:
    with TestClient(app_over(actors), base_url="http://localhost") as client:
        yield client
