"""On a disk that is full, or read-only, a sweep ends in a sentence, and goes on later."""

import shutil
import subprocess
import sys

import pytest
from crashes import SMALL, Project, survived
from program import ENVIRONMENT

CELLS = 4
STATUSES = """
import sqlite3
print(*sorted(row[0] for row in sqlite3.connect("mlflow.db").execute("select status from runs")))
"""
SCRIPT = """
mount -t tmpfs -o size=16m tmpfs "$1" && cp -r "$2"/. "$1" && cd "$1" || exit 77
folder=$1 copy=$2; shift 2
"$@"; echo "exit $?"
"$1" -c "$STATUSES"
mount -o remount,ro "$folder"
"$@"; echo "exit $?"
mount -o remount,rw,size=1g "$folder"
"$@"; echo "exit $?"
cp -r "$folder"/. "$copy"
"""


FILLED = """
import sys
from pathlib import Path
from sweep import tracking
from sweep.tracking import store

folder = Path.cwd()
experiment = store.connect(f"sqlite:///{folder}/mlflow.db", "runs", folder)
with tracking.start_run(experiment, "one", {}, {}) as log, open("filler", "wb", 0) as filler:
    while filler.write(bytes(1024)):  # somebody else's, to the last byte
        pass
"""
ALONE = """
mount -t tmpfs -o size=4m tmpfs "$1" && cp "$2"/mlflow.db "$1" && cd "$1" || exit 77
"$3" -c "$FILLED" 2>&1 | tail -n 1
"$3" -c "$STATUSES"; echo "exit"
"""


def on_a_small_disk(script: str, *arguments: object) -> str:
    """What a script prints in a namespace of its own, where anybody may mount."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        done = subprocess.run(
            [*namespace, *map(str, arguments)],
            env=ENVIRONMENT | {"STATUSES": STATUSES, "FILLED": FILLED},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        pytest.skip(f"no small disk can be made here ({error})")
    if "exit" not in done.stdout:
        pytest.skip(f"no small disk can be made here ({done.stdout.strip()})")
    return done.stdout


def test_a_run_ends_as_failed_on_a_disk_without_a_byte_left(database, tmp_path):
    (disk := tmp_path / "disk").mkdir()
    error, statuses, _ = on_a_small_disk(ALONE, disk, database.parent, sys.executable).splitlines()
    assert error == "OSError: [Errno 28] No space left on device"
    assert statuses == "FAILED"


def test_a_sweep_goes_on_when_there_is_room_again(database, tmp_path):
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    copy.mkdir()
    Project(copy)
    shutil.copy(database, copy)
    sweep = [sys.executable, "run.py", "-m", *SMALL, "prune.frac=0.02,0.05,0.1,0.2"]
    printed = on_a_small_disk(SCRIPT, disk, copy, *sweep)
    full, closed, after, _ = printed.split("exit ")
    assert "Traceback" not in printed, printed
    finished = full.count("B' clean")
    assert 0 < finished < CELLS, full
    (told,) = (line for line in full.splitlines() if line.startswith("prunesweep: "))
    assert told.startswith("prunesweep: the disk is full (")
    assert closed.splitlines()[0] == "1"  # how the one before it ended
    statuses, told = closed.splitlines()[1:]
    assert statuses.split() == ["FAILED"] * 2 + ["FINISHED"] * finished  # the cell and its sweep
    assert "is closed to this user or read-only; expected a place of your own" in told
    assert after.splitlines()[0] == "2"
    assert f"{CELLS} cells: {CELLS - finished} to run, {finished} finished before" in after
    shutil.rmtree(disk)
    copy.rename(disk)  # where MLflow says that everything lies
    survived(Project(disk), CELLS)
