"""The stores that a URL may name, and how a URL is shown: without its password."""

import re
from typing import Final

SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")
EXAMPLES: Final = "sqlite:///{data_dir}/callboard.db or postgresql://user@host:5432/database"

# Up to the last "@" before the path: a password that nobody has escaped may hold one itself, or a "/".
_USER_INFO: Final = re.compile(r"(?<=://)([^@:/?#]*):.*@")
_IN_QUERY: Final = re.compile(r"(?i)((?:^|[?&\s])(?:ssl)?password=)[^&\s]*")


def is_postgres(url: str) -> bool:
    """Tell whether this names a PostgreSQL database."""
    return url.startswith(POSTGRES)


def shown_url(url: str) -> str:
    """Return the URL as it may be printed: with *** for a password."""
    return _IN_QUERY.sub(r"\1***", _USER_INFO.sub(r"\1:***@", url))


def trouble_with(url: str) -> str | None:
    """Tell why this can't be a store's URL, None if it can; what is told holds no password."""
    shown = shown_url(url)
    if "{" in url.replace("{data_dir}", "") and not is_postgres(url):
        return f"{shown!r}: only {{data_dir}} is filled in"
    if is_postgres(url):
        return _trouble_with_postgres(url, shown)
    if url.startswith(("postgresql", "postgres:")):
        return f"{shown!r}: write postgresql://user@host:5432/database, without the name of a driver"
    path = url.removeprefix(SQLITE)
    if path == url or not path or path == ":memory:":
        return f"{shown!r} is not a store: write for example {EXAMPLES}"
    return None


def _trouble_with_postgres(url: str, shown: str) -> str | None:
    try:
        # Late: only who uses it needs the driver, and it takes a while to load.
        from psycopg import ProgrammingError  # noqa: PLC0415
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
    except ImportError as error:
        return f"{shown!r} needs the driver for PostgreSQL: pip install 'callboard[postgres]' ({error})"
    try:
        options = conninfo_to_dict(url)
    except ProgrammingError:  # its words hold the URL
        return f"{shown!r} can't be read: is all that is special in the password written as %XX?"
    if not options.get("dbname"):
        return f"{shown!r} names no database: write for example postgresql://user@host:5432/database"
    return None
