"""On a disk that is full, or read-only, a sweep ends in a sentence, and goes on later."""

import shutil
import subprocess
import sys

import pytest
from crashes import SMALL, Project, survived
from program import ENVIRONMENT

CELLS = 4
SCRIPT = """
mount -t tmpfs -o size=16m tmpfs "$1" && cp -r "$2"/. "$1" && cd "$1" || exit 77
folder=$1 copy=$2; shift 2
"$@"; echo "exit $?"
mount -o remount,ro "$folder"
"$@"; echo "exit $?"
mount -o remount,rw,size=1g "$folder"
"$@"; echo "exit $?"
cp -r "$folder"/. "$copy"
"""


def test_a_sweep_goes_on_when_there_is_room_again(database, tmp_path):
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    copy.mkdir()
    Project(copy)
    shutil.copy(database, copy)
    sweep = [sys.executable, "run.py", "-m", *SMALL, "prune.frac=0.02,0.05,0.1,0.2"]
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]
    try:  # a namespace of its own, where anybody may mount
        done = subprocess.run(
            [*namespace, disk, copy, *sweep],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        pytest.skip(f"no small disk can be made here ({error})")
    if "exit" not in done.stdout:
        pytest.skip(f"no small disk can be made here ({done.stdout.strip()})")
    full, closed, after, _ = done.stdout.split("exit ")
    assert "Traceback" not in done.stdout, done.stdout
    finished = full.count("B' clean")
    assert 0 < finished < CELLS, full
    (told,) = (line for line in full.splitlines() if line.startswith("prunesweep: "))
    assert told.startswith("prunesweep: the disk is full (")
    assert closed.splitlines()[0] == "1"  # how the one before it ended
    (told,) = closed.splitlines()[1:]
    assert "is closed to this user or read-only; expected a place of your own" in told
    assert after.splitlines()[0] == "2"
    assert f"{CELLS} cells: {CELLS - finished} to run, {finished} finished before" in after
    shutil.rmtree(disk)
    copy.rename(disk)  # where MLflow says that everything lies
    survived(Project(disk), CELLS)
