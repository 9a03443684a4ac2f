"""What may be registered: a name that MLflow takes, and that an address and a shell leave whole."""

import re
import shlex
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.utils.validation import _validate_model_name

from sweep import BadInput
from sweep.registry import names

WORDS = "expected a name of letters, digits, '.', '_' and '-' that begins with a letter"


def taken(name: object) -> bool:
    try:
        names.require(name, "register")
    except BadInput:
        return False
    return True


@given(st.from_regex(r"[^\W\d_][\w.@/:?#& '-]{0,30}", fullmatch=True) | st.text(max_size=30))
def test_what_is_taken_is_a_name_for_mlflow_for_an_address_and_for_a_shell(name):
    if not taken(name):
        return
    for one in (name, names.of_repaired(name)):
        _validate_model_name(one)
        address = names.address(one)
        parsed = _parse_model_uri(address)
        assert (parsed.name, parsed.alias, parsed.model_id) == (one, "best", None)
        assert urllib.parse.urlparse(address).query == ""
        assert shlex.split(address.encode().decode()) == [address]
        assert len(one) <= 256
    assert not taken(names.of_repaired(name))


@pytest.mark.parametrize("name", ["door", "Door-2.1_b", "grün", "x" * 200, "m-" + "0" * 32])
def test_usual_names_are_taken(name):
    assert taken(name)


BAD = ["", " ", "a b", "a/b", "a:b", "a@best", "../a", ".", "-a", "2024", 5, True, None, "a\n"]


@pytest.mark.parametrize("name", [*BAD, "x" * 201, ["a"]])
def test_others_are_refused_in_one_sentence_that_says_what_came(name):
    with pytest.raises(BadInput, match=re.escape(f"register is {name!r}; {WORDS}")):
        names.require(name, "register")


@pytest.mark.parametrize("name", ["door-repaired", "x-REPAIRED"])
def test_the_name_of_another_ones_repaired_network_is_refused(name):
    with pytest.raises(BadInput, match=f"NAME is {name}; expected a name that does not end in"):
        names.require(name, "NAME")
