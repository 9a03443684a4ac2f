"""Artifacts have a place that is told, and that every machine sees."""

import pytest
from mlflow.entities import Experiment

from sweep import BadInput
from sweep.tracking.servers import databases, places

SHARED = "postgresql://host/runs"


def experiment(place: object) -> Experiment:
    return Experiment("1", "runs", str(place), "active")


@pytest.mark.parametrize(
    ("uri", "place", "told"),
    [
        ("http://host", "/a", "on a server, which has its own place"),
        (SHARED, "a/b", "expected the whole path"),
        (SHARED, "ftp://me:PASSWORD@host/a", "an address without a password"),
    ],
)
def test_a_place_that_cannot_be_is_refused(uri, place, told):
    with pytest.raises(BadInput, match=told):
        places.wanted(uri, place)


def test_an_experiment_has_a_folder_in_the_place(tmp_path):
    place = places.wanted(SHARED, str(tmp_path))
    assert places.of_new(SHARED, "a/b", place) == (tmp_path / "a%2Fb").as_uri()
    assert (tmp_path / "a%2Fb").is_dir()
    assert places.of_new(SHARED, "x", "s3://bucket/") == "s3://bucket/x"
    with pytest.raises(BadInput, match=r"expected their place as tracking\.artifacts"):
        places.of_new(SHARED, "x", None)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be made"):
        places.of_new(SHARED, "x", (tmp_path / "file").as_uri())


def test_an_experiment_keeps_its_place(tmp_path):
    kept = experiment((tmp_path / "runs").as_uri())
    with pytest.raises(BadInput, match="is not there on this machine"):
        places.require_same(SHARED, kept, None)
    (tmp_path / "runs").mkdir()
    for place in (None, tmp_path.as_uri(), (tmp_path / "runs").as_uri()):
        places.require_same(SHARED, kept, place)
    with pytest.raises(BadInput, match="has its artifacts at file://"):
        places.require_same(SHARED, kept, "file:///elsewhere")
    with pytest.raises(BadInput, match="kept by a server"):
        places.require_same(SHARED, experiment("mlflow-artifacts:/1"), None)


def test_a_missing_driver_is_told_with_what_brings_it(monkeypatch):
    monkeypatch.setattr(databases, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"psycopg is not installed: pip install -e \"\.\[postgres"):
        databases.require_driver(SHARED)
    databases.require_driver("sqlite:////a.db")
