"""The URLs of stores: which are taken, and that none is shown with its password."""

import sys

import pytest

from callboard.conf.settings import Settings
from callboard.conf.store_url import shown_url, trouble_with


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////srv/callboard.db", "sqlite:////srv/callboard.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:s3@cret/s3cret@host/db", "postgresql://me:***@host/db"),  # nobody has escaped it
        ("postgres://:s3cret@/db?host=/run", "postgres://:***@/db?host=/run"),
        (
            "postgresql://me@host/db?sslmode=require&password=s3cret&a=b",
            "postgresql://me@host/db?sslmode=require&password=***&a=b",
        ),
        ("postgresql://me@host/db?sslpassword=s3cret", "postgresql://me@host/db?sslpassword=***"),
        ("mysql://me:s3cret@host/db", "mysql://me:***@host/db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{data_dir}/callboard.db",
        "postgresql://me@host/db",
        "postgresql://me:s3cret@one:5432,two:5433/db?target_session_attrs=read-write",
        "postgres:///db?host=/run/postgresql",
        "postgresql://host/?dbname=db",
    ],
)
def test_a_stores_url_is_taken(url: str) -> None:
    assert trouble_with(url) is None
    assert Settings.model_validate({"store": {"url": url}}).store.url == url


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:s3cret@host/db",
        "postgresql://me:s3cret@host",
        "postgresql+x://me:s3cret@h/d",
        "postgresql://a:s3cret@[::1/d",
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str) -> None:
    trouble = trouble_with(url)
    assert trouble
    assert "s3cret" not in trouble


def test_without_the_driver_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'callboard[postgres]'" in str(trouble_with("postgresql://me@host/db"))


def test_settings_show_no_password() -> None:
    settings = Settings.model_validate({"store": {"url": "postgresql://me:s3cret@host/db"}})
    assert "s3cret" not in repr(settings)
    assert settings.shown_store_url == "postgresql://me:***@host/db"
