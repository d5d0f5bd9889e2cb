"""What a server is told at its start, for tests that start none of it."""

from pathlib import Path

from callboard.actors.server import Serving


def serving_nothing(data_dir: Path) -> Serving:
    """Return what names a data directory and nothing else that could be used."""
    return Serving(
        data_dir=data_dir,
        host="127.0.0.1",
        port=1,
        store_url="memory:",
        grace_seconds=0.0,
        registry_class=object,
        make_app=lambda _: None,
    )
