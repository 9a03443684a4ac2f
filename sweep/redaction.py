"""Passwords in addresses: they become *** on the screen, and in all that is kept."""

import re
from collections.abc import Iterable
from pathlib import Path

_COLON = r"\\*:"  # Hydra writes overrides with a backslash before it
_USER = rf"{_COLON}//[^\s/?#:@]*{_COLON}"
#: Where a password begins and ends: before a host of the web, of a database, and in a query.
_PASSWORDS = (
    re.compile(rf"(\bhttps?{_USER})[^\s/?#]+(?=@)", re.IGNORECASE),
    re.compile(rf"((?<![\w+.-])(?!https?\\*:)[\w+.-]+{_USER})[^\s\"<>]+(?=@)", re.IGNORECASE),
    re.compile(r"([?&](?:\w*password|passwd|pwd|token|odbc_connect)=)[^\s&\"']+", re.IGNORECASE),
)


def redacted(text: str) -> str:
    """Return `text` with *** in place of the password of each address in it.

    >>> redacted("tracking.uri=postgresql+psycopg2://me:s3cr/et@host:5432/runs cannot be used")
    'tracking.uri=postgresql+psycopg2://me:***@host:5432/runs cannot be used'
    >>> redacted("http://host:5000/a@b")
    'http://host:5000/a@b'
    """
    for password in _PASSWORDS:
        text = password.sub(r"\1***", text)
    return text


def redact_files(paths: Iterable[Path]) -> None:
    """Take the passwords out of files that somebody else has written."""
    for path in paths:
        text = path.read_text() if path.is_file() else ""
        if redacted(text) != text:
            path.write_text(redacted(text))
