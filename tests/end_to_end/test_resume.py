"""A sweep that was killed, interrupted or enlarged goes on where it stood."""

import shutil
import signal
import sqlite3
import time
from contextlib import closing

import program
import pytest
from crashes import SMALL, Project, survived

FEW = ("-m", *SMALL, "prune.frac=0.02,0.1")


@pytest.fixture(scope="module")
def swept(database, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """Two cells, and what was printed."""
    project = Project(tmp_path_factory.mktemp("swept"), "-m", *SMALL)
    shutil.copy(database, project.folder)
    return project, project.run("prune.frac=0.02,0.1")


def test_a_line_tells_how_each_cell_went_and_how_long_the_rest_takes(swept):
    _, printed = swept
    lines = printed.splitlines()
    assert lines[0] == "2 cells: 2 to run, 0 finished before"
    first, second = (line for line in lines if " of 2" in line and "prune.frac" in line)
    assert first.startswith("1 of 2, ")
    assert " left: prune.frac=0.02: B' clean " in first
    assert second.startswith("2 of 2: prune.frac=0.1: B' clean ")
    copied = ("Compare", "http", "Or in one step", "All of it")  # these lines are one each
    assert max(len(line) for line in lines if not line.startswith(copied)) <= 80


def test_a_sweep_and_its_cells_say_the_same_of_where_they_come_from(swept):
    project, _ = swept
    names = {"mlflow.user", "mlflow.source.git.commit", "mlflow.source.git.branch", "git_dirty"}
    names |= {"mlflow.source.name", "mlflow.source.type", "host", "pid_started", "tensorflow"}
    sources = [{name: run.data.tags.get(name) for name in names} for run in project.runs()]
    assert len(sources) == 3
    assert sources[0]["mlflow.user"]
    assert sources[1:] == sources[:1] * 2


def test_the_same_sweep_again_runs_nothing_and_a_larger_one_what_is_new(swept):
    project, _ = swept
    before = project.comparison()
    again = project.run("prune.frac=0.02,0.1")
    assert again.startswith("2 cells: 0 to run, 2 finished before\n")
    table = project.comparison()
    assert [row["run_id"] for row in table] == [row["run_id"] for row in before]
    assert [row["reused"] for row in before + table] == ["false", "false", "true", "true"]
    same = {"reused": ""}
    assert [row | same for row in table] == [row | same for row in before]
    count = len(project.runs())

    listed = project.run("prune.frac=0.1,0.2", "dry_run=true")
    assert listed.startswith("2 cells: 1 to run, 1 finished before\n")
    rows = [line.split() for line in listed.splitlines() if "prune.frac" in line]
    assert rows == [["0", "reused", "prune.frac=0.1"], ["1", "run", "prune.frac=0.2"]]
    assert len(project.runs()) == count

    larger = project.run("prune.frac=0.1,0.2", "cache.max_gb=1", "tracking.models=false")
    assert larger.startswith("2 cells: 1 to run, 1 finished before\n")
    table = project.comparison()
    assert [row["reused"] for row in table] == ["true", "false"]
    assert table[0]["run_id"] == before[1]["run_id"]
    # who wants models does not get the run that has none
    listed = project.run("prune.frac=0.1,0.2", "dry_run=true")
    assert listed.startswith("2 cells: 1 to run, 1 finished before\n")


def test_rerun_runs_all_and_other_settings_are_other_cells(swept):
    project, _ = swept
    printed = project.run("prune.frac=0.02", "prune.keep=safe", "dry_run=true")
    assert printed.startswith("1 cell: 1 to run, 0 finished before\n")
    assert project.run("prune.frac=0.02", "dry_run=true", "rerun=true").startswith(
        "1 cell: 1 to run, 0 finished before\n"
    )
    before = project.comparison()
    again = project.run("prune.frac=0.02", "rerun=true")
    assert again.startswith("1 cell: 1 to run, 0 finished before\n")
    (row,) = project.comparison()
    assert row["reused"] == "false"
    assert row["run_id"] not in {other["run_id"] for other in before}


def test_a_failing_cell_is_told_and_fail_fast_stops_there(swept):
    project, _ = swept
    # more images of a class than there are can only be found when they are drawn
    bad = ("repair=[finetune]", "++repair.finetune.held_out=0.001,0.002")
    printed = project.run(*bad, "prune.frac=0.02", exits=1)
    assert printed.count("FAILED: a repair is to hold out") >= 2
    assert "Of 2 cells 2 failed; the same command again runs these alone." in " ".join(
        printed.split()
    )
    assert [row["status"] for row in project.comparison()] == ["FAILED", "FAILED"]
    project.run(*bad, "prune.frac=0.02", "fail_fast=true", exits=1)
    assert [row["status"] for row in project.comparison()] == ["FAILED", "MISSING"]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_sweep_is_compared_and_goes_on(how, code, database, tmp_path):
    project = Project(tmp_path, "-m", *SMALL, "prune.frac=0.02,0.1,0.2")
    shutil.copy(database, tmp_path)
    process, printed, sent = project.start(), "", None
    for line in process.stdout:
        printed += line
        if line.startswith("1 of 3") and sent is None:
            process.send_signal(how)
            sent = time.monotonic()
    assert process.wait() == code, printed
    assert time.monotonic() - sent < 30
    assert "Traceback" not in printed
    assert "prunesweep: interrupted" in printed
    assert "the same command again runs these alone." in " ".join(printed.split())
    statuses = [row["status"] for row in project.comparison()]
    assert statuses[0] == "FINISHED"
    assert set(statuses[1:]) <= {"KILLED", "MISSING"}
    assert "RUNNING" not in {run.info.status for run in project.runs()}
    assert project.run().startswith("3 cells: 2 to run, 1 finished before\n")
    survived(project, 3)


def test_a_sweep_whose_database_is_locked_for_long_ends_in_a_sentence_and_goes_on(swept):
    project, _ = swept
    process, printed = project.start("prune.frac=0.02,0.4,0.5"), ""
    with closing(sqlite3.connect(project.folder / "mlflow.db", isolation_level=None)) as holder:
        for line in process.stdout:
            printed += line
            if line.startswith("1 of 2"):
                holder.execute("BEGIN EXCLUSIVE")
            if line.startswith("prunesweep: "):
                holder.execute("ROLLBACK")
    assert process.wait() == 1, printed
    assert "Traceback" not in printed
    assert "stays locked by another process (open here in: " in printed
    assert printed.count("of 2") == 1
    assert [row["status"] for row in project.comparison()] == ["FINISHED", "FINISHED", "MISSING"]
    assert "RUNNING" not in {run.info.status for run in project.runs()}
    again = project.run("prune.frac=0.02,0.4,0.5", "dry_run=true")
    assert again.startswith("3 cells: 1 to run, 2 finished before\n")


def test_a_sweep_whose_cells_are_all_finished_starts_without_tensorflow(swept):
    project, _ = swept
    command = ("-X", "importtime", "run.py", *project.overrides, "prune.frac=0.02,0.1")
    process = program.python(project.folder, *command)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert "2 cells: 0 to run, 2 finished before\n" in printed
    lines = [line for line in printed.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert {"mlflow", "sweep.cli.sweeps"} <= imported
    assert not {"tensorflow", "keras"} & imported


def test_a_sweep_whose_reader_goes_is_compared_and_ended(swept):
    project, _ = swept
    process = project.start("prune.frac=0.02,0.1,0.3")
    assert process.stdout.readline() == "3 cells: 1 to run, 2 finished before\n"
    process.stdout.close()
    assert process.wait() == 128 + signal.SIGPIPE
    assert [row["status"] for row in project.comparison()][:2] == ["FINISHED"] * 2
    assert "RUNNING" not in {run.info.status for run in project.runs()}


def test_what_was_killed_while_it_wrote_is_finished_by_the_same_command(database, tmp_path):
    project = Project(tmp_path, *FEW)
    shutil.copy(database, tmp_path)
    for moment in ("outputs/badnets/*/.bd_net*", "mlruns/*/models/*", "mlruns/*/*/artifacts/*.csv"):
        assert project.kill_at(moment) is not None
    project.run()
    survived(project, 2)
    dead = [run for run in project.runs() if run.info.status == "KILLED"]
    assert {run.data.tags["error"] for run in dead} == {"its process ended without a word"}


def test_two_sweeps_at_once_on_an_empty_folder_both_end_well(tmp_path):
    project = Project(tmp_path, *FEW)
    both = [project.start(), project.start()]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(printed)
    survived(project, 2)
    finished = [run for run in project.runs() if run.info.status == "FINISHED"]
    assert 4 <= len(finished) <= 6  # two parents, and each cell once or twice
