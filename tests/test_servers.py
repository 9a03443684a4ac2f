"""Runs on a tracking server: its password is told nowhere, and a server that goes ends a sweep."""

import shutil
import socket
import subprocess
import sys
import time

import mlflow
import pytest
from crashes import SMALL, Project
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from program import ENVIRONMENT, python
from services import PASSWORD, told_in, with_password

from sweep.cleanup import command

pytestmark = pytest.mark.services


def test_two_clones_may_begin_experiments_at_the_same_moment(server, tmp_path):
    code = "import sys, pathlib; from sweep.tracking import store; print('ready', flush=True)\n"
    code += "for name in sys.stdin.readline().split():\n"
    code += "    print(store.connect(sys.argv[1], name, pathlib.Path(sys.argv[2])))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    clones = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.uri, str(tmp_path / clone)],
            env=ENVIRONMENT,
            text=True,
            **pipes,
        )
        for clone in ("one", "other")
    ]
    for clone in clones:
        assert clone.stdout.readline() == "ready\n"
    names = [f"new-{number}" for number in range(20)]
    for clone in clones:  # a line each, and off they go
        clone.stdin.write(" ".join(names) + "\n")
        clone.stdin.flush()
    answers = [clone.communicate() for clone in clones]
    assert [clone.returncode for clone in clones] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert len(set(answers[0][0].split())) == len(names)


def test_a_sweep_is_deleted_on_a_server_with_its_files_and_mlflow_forgets_it(server, capsys):
    before, client = mlflow.get_tracking_uri(), MlflowClient(server.uri)
    experiment = client.create_experiment("left")
    gone = {"host": socket.gethostname(), "pid": "999999999", "pid_started": "0"}
    sweep = client.create_run(experiment, tags={"cells": "1", **gone}).info.run_id
    cell = client.create_run(experiment, tags={"mlflow.parentRunId": sweep, **gone}).info.run_id
    client.log_text(sweep, "job", "comparison.csv")
    client.log_text(cell, "seed: 0", "config.yaml")
    model = client.create_logged_model(experiment, source_run_id=cell)
    (server.folder / "model.keras").write_text("a model")
    client.log_model_artifact(model.model_id, str(server.folder / "model.keras"))
    client.finalize_logged_model(model.model_id, "READY")
    lying = server.folder / "artifacts" / experiment
    assert len([path for path in lying.rglob("*") if path.is_file()]) == 3

    what = ["left", "--uri", with_password(server.uri)]
    assert command.main([*what, "--end"]) == 0
    client.set_terminated(cell, "FINISHED")
    assert command.main([*what, "--sweep", sweep[:8], "--finished", "--delete"]) == 0
    mlflow.set_tracking_uri(before)
    printed = capsys.readouterr().out
    assert "2 runs are KILLED now." in printed
    assert "2 runs are deleted, with models and files." in printed
    assert "mlflow gc --backend-store-uri DATABASE_OF_THE_SERVER" in printed
    assert PASSWORD not in printed
    assert not [path for path in lying.rglob("*") if path.is_file()]
    database = f"sqlite:///{server.folder}/mlflow.db"
    forget = ["gc", "--backend-store-uri", database, "--tracking-uri", server.uri]
    process = python(server.folder, "-m", "mlflow", *forget)
    told, _ = process.communicate()
    assert told.count("Run with ID") == 2
    assert client.search_runs([experiment], run_view_type=ViewType.ALL) == []


def test_a_server_that_goes_ends_a_sweep_in_a_sentence(server, prepared, tmp_path):
    shutil.copytree(prepared / "outputs", tmp_path / "outputs")
    project = Project(tmp_path)
    where = ("tracking.experiment=gone", f"tracking.uri={with_password(server.uri)}")
    where += ("tracking.models=false", "tracking.patience=5")
    process, printed = project.start("-m", *SMALL, *where, "prune.frac=0.02,0.04,0.1,0.2"), ""
    for line in process.stdout:
        printed += line
        if line.startswith("1 of 4"):
            server.stop()
            ended = time.monotonic()
    assert process.wait() == 1, printed
    assert time.monotonic() - ended < 60
    (sentence,) = (line for line in printed.splitlines() if line.startswith("prunesweep: "))
    assert sentence.startswith("prunesweep: the runs at http://sweeper:***@127.0.0.1:")
    assert "(Connection refused): see to the server or to tracking.uri" in sentence
    assert printed.count("1 of 4") == 1
    table = printed.partition(sentence)[2].splitlines()
    (first,) = (line for line in table if line.startswith("0.02 "))
    assert "MISSING" not in first
    assert first.count(".") >= 4
    assert sum("MISSING" in line for line in table if line.startswith("0.")) >= 2
    assert "Of 4 cells" in printed.splitlines()[-2] + printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert PASSWORD not in printed
    began, again = time.monotonic(), project.run(*SMALL, *where, exits=2)
    assert again.startswith("prunesweep: the runs at http://sweeper:***@127.0.0.1:")
    assert time.monotonic() - began < 30
    assert told_in(project.folder) == []
