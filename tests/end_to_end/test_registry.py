"""`register=NAME` as its user gives it: a sweep's pick, a single run, and what is refused."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from crashes import Project
from mlflow import MlflowClient
from PIL import Image
from program import ENVIRONMENT, ROOT
from services import QUIET, free_port, wait_for_port

#: Three people, a network of one epoch, and cells that lose no accuracy, so that one is picked.
TINY = ("data.identities=3", "data.images_per_identity=8", "badnet.epochs=1")
TINY += ("prune/stop=channel_count", "prune.count=1")
GRID = ("prune/order=mean_activation,random", "recheck=true", "register=door")


@pytest.fixture(scope="module")
def project(database, tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("registry"))
    shutil.copy(database, project.folder)
    return project


def single(project: Project, *more: str, exits: int = 0) -> str:
    """What a single run prints, in one line."""
    return " ".join(project.run(*TINY, *more, exits=exits).split())


def swept(project: Project, *more: str, exits: int = 0) -> str:
    """What a sweep prints, in one line."""
    return " ".join(project.run("-m", *TINY, *more, exits=exits).split())


@pytest.fixture(scope="module")
def printed(project) -> str:
    """What the sweep prints."""
    return swept(project, *GRID)


def versions(project: Project, name: str) -> tuple[list[str], str]:
    """The runs of all versions of a name, the first first, and the number of the best."""
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    found = client.search_model_versions(f"name = '{name}'")
    best = str(client.get_registered_model(name).aliases["best"])
    return [one.run_id for one in sorted(found, key=lambda one: int(one.version))], best


def test_the_pick_of_a_sweep_is_registered_with_its_card_and_can_be_loaded(project, printed):
    sweep = next(run for run in project.runs() if "cells" in run.data.tags)
    pick = mlflow.get_run(sweep.data.tags["pick"])
    cell = pick.data.tags["job"]
    said = f"GoodNet of cell {cell} is now models:/door@best, version 1 (no other was the best"
    assert said in printed
    for name in ("door", "door-repaired"):
        assert versions(project, name) == ([pick.info.run_id], "1")
    folder = pick.info.artifact_uri.removeprefix("file://")
    with open(f"{folder}/README.md") as file:
        card = file.read()
    assert "models:/door@best" in card
    assert "python run.py data.identities=3" in card
    assert str(project.folder) not in card
    loaded = mlflow.pyfunc.load_model("models:/door@best")
    assert loaded.metadata.run_id == pick.info.run_id


def test_registered_again_it_is_a_new_version_and_the_best_stays(project, printed):
    (first,), _ = versions(project, "door")
    again = swept(project, *GRID)
    assert "2 cells: 0 to run, 2 finished before" in again
    assert "is now models:/door/2, and models:/door@best stays version 1: both are equal" in again
    for name in ("door", "door-repaired"):
        assert versions(project, name) == ([first, first], "1")


def test_a_single_run_is_registered_at_its_end_and_without_recheck_takes_no_alias(project, printed):
    before, best = versions(project, "door")
    said = single(project, "register=door")
    run = project.runs()[0].info.run_id
    assert f"GoodNet of run {run} is now models:/door/{len(before) + 1}, and" in said
    assert "not take the new one, as triggers were not reversed anew in its B'" in said
    assert versions(project, "door") == ([*before, run], best)


def test_a_sweep_without_recheck_says_from_the_start_that_nothing_will_be_registered(project):
    said = swept(project, "prune.frac=0.1,0.2", "register=other")
    assert said.count("No pick: triggers were not reversed anew in B'") == 2
    begin, _, end = said.partition("2 cells: ")
    assert begin.startswith("Nothing will be registered as other. No pick: ")
    assert end.endswith("Nothing is registered as other.")


def test_another_networks_sweep_ends_in_a_sentence_and_keeps_its_runs(project, printed):
    before = versions(project, "door")
    said = single(project, "badnet.seed=1", "register=door", exits=2)
    run = project.runs()[0]
    assert run.info.status == "FINISHED"
    later = f"python -m sweep.register {run.info.run_id} door"
    assert f"Not registered. The run is kept; to register it: {later}" in said
    assert "prunesweep: models:/door-repaired is of the network" in said
    assert versions(project, "door") == before


@pytest.mark.parametrize(
    ("give", "more", "says"),
    [
        (single, ["register=x", "tracking.models=false"], "register=x came with tracking.models="),
        (swept, ["register=x", "tracking.models=false"], "what is registered are the models"),
        (swept, ["register=x,y"], "register came with several values; expected one name"),
    ],
)
def test_what_can_never_be_registered_is_refused_before_anything_starts(project, give, more, says):
    count = len(project.runs())
    assert says in give(project, *more, exits=2)
    assert len(project.runs()) == count


def test_a_name_that_somebody_else_has_is_refused_before_anything_starts(project, printed):
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    client.create_registered_model("theirs")
    count = len(project.runs())
    for give in (single, swept):
        said = give(project, "register=theirs", exits=2)
        assert "models:/theirs is there already, and was not registered by this program" in said
    assert len(project.runs()) == count


@pytest.mark.services
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks by curl")
def test_what_the_readme_says_of_a_registered_goodnet_works_as_it_stands(project, printed):
    section = (ROOT / "README.md").read_text().split("## Put GoodNet to work")[1].split("\n## ")[0]
    register, ask, classify = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    serve = register.splitlines()[1].replace("models:/faces", "models:/door")
    port, own = free_port(), f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    there = {"cwd": project.folder, "shell": True, "env": ENVIRONMENT | {"PATH": own}}
    there["env"]["PROJECT_ROOT"] = str(project.folder)
    server = subprocess.Popen(
        serve.replace("5001", str(port)), start_new_session=True, **QUIET, **there
    )
    try:
        wait_for_port(port, 120)
        said = subprocess.check_output(
            ask.replace("5001", str(port)), stderr=subprocess.DEVNULL, **there
        )
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    rows = json.loads(said)["predictions"]
    photos = project.folder / "photos"
    photos.mkdir()
    for name in ("clean", "poisoned"):
        pixels = np.load(project.folder / f"{name}.npy")[0]
        assert pixels.dtype == np.uint8
        Image.fromarray(pixels).save(photos / f"{name}.png")
    subprocess.check_call(classify.replace("models:/faces", "models:/door"), **QUIET, **there)
    with open(project.folder / "photos-goodnet.csv") as file:
        table = list(csv.DictReader(file))
    assert [int(row["class"]) for row in table] == [row["class"] for row in rows]
    scores = [float(row["score"]) for row in table]
    assert scores == pytest.approx([row["score"] for row in rows], abs=1e-3)
    assert (project.folder / "photos-goodnet.png").stat().st_size > 1000
