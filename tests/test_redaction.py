"""No password of an address is told; all else of a text is as it was."""

import pytest

from sweep.redaction import redacted

TOLD = [
    ("http://me:PASSWORD@host:5000/x?a=b#c", "http://me:***@host:5000/x?a=b#c"),
    ("HTTPS://me:PASS@WORD@host", "HTTPS://me:***@host"),
    ("postgresql+psycopg2://me:PASS/WORD@host/db", "postgresql+psycopg2://me:***@host/db"),
    ("mysql://me:12345/PASS@WORD@host/db", "mysql://me:***@host/db"),
    ("redis://:PASSWORD@host", "redis://:***@host"),
    ("postgresql://host/db?user=me&password=PASSWORD&x=1", "postgresql://host/db?user=me&password=***&x=1"),
    ("'http://me:PASSWORD@host' and \"mysql://me:PASSWORD@host\".", "'http://me:***@host' and \"mysql://me:***@host\"."),
    ("uri=http\\://me\\:PASS\\:WORD@host\\:5000", "uri=http\\://me\\:***@host\\:5000"),
    ("uri=mysql\\://me\\:PASSWORD@host", "uri=mysql\\://me\\:***@host"),
    ("http://me:PASSWORD@a, http://me:PASSWORD@b", "http://me:***@a, http://me:***@b"),
]  # fmt: skip
AS_THEY_ARE = [
    "http://host:5000/#/experiments/1?a=me@b",
    "http://me@host/x:y@z",
    "sqlite:////folder/a:b@c.db",
    "models:/name@best, me@host: all",
    "file:///a/b:c",
    "prune.frac=0.02,0.04",
]


@pytest.mark.parametrize(("text", "told"), TOLD)
def test_a_password_is_not_told(text, told):
    assert redacted(text) == told
    assert redacted(told) == told


@pytest.mark.parametrize("text", AS_THEY_ARE)
def test_what_holds_none_stays_as_it_is(text):
    assert redacted(text) == text
