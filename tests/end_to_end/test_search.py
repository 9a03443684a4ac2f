"""`experiment=search` as its user gives it: run, killed, resumed, looked at."""

import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from crashes import Project
from started_sweeps import Sweep

#: Three people, a network of one epoch, and a space of small cells, by what clean images tell.
TINY = (
    "data.identities=3",
    "data.images_per_identity=8",
    "badnet.epochs=1",
    "tracking.models=false",
)
SPACE = ("search.space.repair.choices=[[],[finetune]]", "search.space.order.choices=[clp,l1_norm]")
SEARCH = ("experiment=search", *TINY, *SPACE, 'search.first=["strategy=lab"]')

#: How a line begins that tells of a trial that is done.
DONE = re.compile(r"^(\d) of 3[,:]", re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def killed(project) -> str:
    """What a search of three trials prints, whose process is killed after its first."""
    sweep = Sweep(project, *SEARCH, "search.trials=3")
    deadline = time.monotonic() + 500
    while not DONE.search(sweep.printed) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(sweep.process.pid, signal.SIGKILL)
    sweep.wait()
    return sweep.printed


@pytest.fixture(scope="module")
def resumed(project, killed) -> str:
    """What the same command prints after that."""
    return project.run(*SEARCH, "search.trials=3", exits=0)


def parents(project: Project) -> list:
    return [run for run in project.runs() if "search" in run.data.tags]


def trials(project: Project, name: str = "trials.csv") -> list[dict[str, str]]:
    """The lines of the newest search."""
    newest = max(parents(project), key=lambda run: run.info.start_time)
    folder = Path(newest.info.artifact_uri.removeprefix("file://"))
    return list(csv.DictReader((folder / name).open()))


def words(printed: str) -> str:
    return " ".join(printed.split())


def test_the_same_command_goes_on_where_it_was_killed(project, killed, resumed):
    before = int(DONE.findall(killed)[-1])
    trial = "1 trial" if before == 1 else f"{before} trials"
    assert f"{trial} finished before" in words(resumed)
    finished = [run for run in project.runs() if "job" in run.data.tags]
    digests = [run.data.tags["cell"] for run in finished if run.info.status == "FINISHED"]
    assert len(digests) == len(set(digests)) == 3
    assert "1 run whose process had died: now KILLED" in words(resumed)
    assert "3 trials, 3 of them finished" in words(resumed)


def test_trials_are_cells_that_know_what_they_were_told(project, resumed):
    rows = trials(project)
    runs = {run.info.run_id: run for run in project.runs()}
    assert [row["trial"] for row in rows] == list("012")
    for row in rows:
        metrics = runs[row["run_id"]].data.metrics
        told = metrics["repaired/reversed_trigger_success"], metrics["repaired/corruption_excess"]
        assert metrics["search/success"] == pytest.approx(sum(told) / 2)
        lost = metrics["badnet/valid_accuracy"] - metrics["repaired/valid_accuracy"]
        assert metrics["search/accuracy_lost"] == pytest.approx(lost)
        assert (float(row["success"]), float(row["accuracy_lost"])) == (
            metrics["search/success"], metrics["search/accuracy_lost"],
        )  # fmt: skip
        assert "experiment=search" not in row["command"]
        assert "recheck=true" in row["command"]
    assert rows[0]["command"].endswith("strategy=lab")
    picked = [row["command"] for row in rows if row["pick"] == "1"]
    assert ("To run it again:" in resumed) == bool(picked)
    assert all(command in resumed for command in picked)


def test_the_parent_is_marked_and_holds_history_figure_and_report(project, resumed):
    newest = max(parents(project), key=lambda run: run.info.start_time)
    assert newest.info.status == "FINISHED"
    assert (newest.data.tags["search"], newest.data.tags["cells"]) == ("tpe", "3")
    assert 0 <= newest.data.metrics["search/dominated_share"] <= 1
    folder = Path(newest.info.artifact_uri.removeprefix("file://"))
    assert (folder / "figures" / "search.png").is_file()
    told = json.loads((folder / "search.json").read_text())
    assert len(told["trials"]) == len(told["history"]) == 3
    page = (folder / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    (shown,) = data["searches"]
    assert {trial["cell"] for trial in shown["trials"]} == {0, 1, 2}
    assert all("experiment=search" not in cell["command"] for cell in data["cells"])


def test_more_trials_go_on_behind_those_that_there_are(project, resumed):
    more = words(project.run(*SEARCH, "search.trials=4", exits=0))
    assert "3 trials finished before" in more
    assert "4 trials, 4 of them finished; 3 finished before" in more
    assert [row["status"] for row in trials(project)] == ["FINISHED"] * 4


def test_a_search_for_no_time_tries_what_is_given_and_says_so(project, resumed):
    printed = words(project.run(*SEARCH, "search.trials=9", "search.minutes=0.0001", exits=0))
    assert re.search(r"search.minutes=0.0001 are over, with [89] trials left", printed)


def test_a_dry_run_shows_the_space_and_begins_nothing(project, resumed):
    before = len(project.runs())
    printed = words(project.run(*SEARCH, "dry_run=true", exits=0))
    assert "prune/order clp, l1_norm" in printed
    assert "first: strategy=lab" in printed
    assert len(project.runs()) == before


def test_a_space_that_is_exhausted_ends_the_search(project, resumed):
    small = (*TINY, "search.space.repair.choices=[[]]", "search.space.order.choices=[clp]")
    small += ("search.objective=oracle", "search.first=[]", "~search.space.layer")
    printed = words(project.run("experiment=search", *small, "search.trials=9", exits=0))
    assert "nothing was suggested that was not tried before" in printed
    assert "No pick: the search looked at true attack success, which no defender knows." in printed
    oracle = max(parents(project), key=lambda run: run.info.start_time)
    assert oracle.data.tags["threat_model"] == "oracle"


def test_two_workers_are_given_two_trials_at_a_time(project, resumed):
    more = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "search.batch=2")
    more += ("search.objective=oracle",)
    printed = words(project.run(*SEARCH, *more, "search.trials=5", exits=0))
    assert "up to 5 trials, 2 at a time" in printed
    assert "5 trials, 5 of them finished" in printed
