"""Databases that several machines share and that are used directly: PostgreSQL by psycopg 3."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sqlalchemy import create_engine, make_url, text

from sweep import BadInput

KINDS = ("postgresql", "postgres", "mysql", "mssql")
POSTGRES = re.compile(r"(postgres(?:ql)?)(?:\+(\w+))?://")
INSTALL = 'pip install -e ".[postgres]" -c constraints.txt'
MAKING = 5_077_241  # the number of the lock that is held while tables are made
CONNECT = 8  # seconds within which it answers


def is_shared(uri: str) -> bool:
    """Whether a tracking URI names a database that several machines may use at once."""
    return uri.partition(":")[0].partition("+")[0].lower() in KINDS


def require_driver(uri: str) -> None:
    """Raise BadInput where a PostgreSQL is to be reached by another driver, or by none."""
    match = POSTGRES.match(uri)
    if not match:
        return
    name, driver = match.groups()
    if name == "postgres" or driver not in (None, "psycopg"):
        raise BadInput(
            f"tracking.uri begins with {match[0]}; expected postgresql://, which means psycopg 3: "
            f"{INSTALL}"
        )
    if find_spec("psycopg") is None:
        raise BadInput(
            f"tracking.uri names a PostgreSQL, and its driver psycopg is not installed: {INSTALL}"
        )


@contextmanager
def made_by_one(uri: str) -> Iterator[None]:
    """Hold a lock of a PostgreSQL, so that one process alone makes its tables.

    Several that make them at once stand in each other's way; they may be of several machines.
    """
    if not POSTGRES.match(uri):
        yield
        return
    engine = create_engine(make_url(uri), connect_args={"connect_timeout": CONNECT})
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({MAKING})"))
            yield
    finally:
        engine.dispose()
