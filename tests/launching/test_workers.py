"""A worker's share of the machine, and that it ends with its sweep."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from sweep import processes
from sweep.launching import progress, workers

ROOT = Path(__file__).resolve().parents[2]
#: Becomes a worker of the sweep whose folder and process it is given, and says what it has.
WORKER = """
import json, os, sys, threading
sys.modules["tensorflow"] = sys  # it takes seconds
from sweep.launching import workers
from sweep import terminal
workers.LOOK = 0.05
folder, devices, process = sys.argv[1], tuple(json.loads(sys.argv[2])), json.loads(sys.argv[3])
given = {"PROJECT_ROOT": "/given"}
for _ in range(3):  # once for each cell
    workers.begin(workers.Settings(folder, 3, devices, given, process))
assert len([thread for thread in threading.enumerate() if thread.daemon]) == 1
names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES", "PROJECT_ROOT")
print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)
terminal.print_line("a line\\nof a worker")
if "busy" in sys.argv:
    with workers.at_work():
        sys.stdin.readline()
        print("done", flush=True)
sys.stdin.read()
"""


def start(folder: Path, devices: str = "[]", process: str = '{"host": "x"}', *more: str):
    environment = {k: v for k, v in os.environ.items() if k not in workers.THREADS}
    environment |= {"PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "7"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    environment.pop("PROJECT_ROOT", None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", WORKER, str(folder), devices, process, *more]
    return subprocess.Popen(command, env=environment, **pipes)


def told(worker) -> dict:
    return json.loads(worker.stdout.readline())


def test_a_worker_has_its_threads_its_device_and_what_it_inherits_and_the_users_word_counts(
    tmp_path, capsys
):
    reporter = progress.Reporter(tmp_path, 1, lambda more: None)
    workers_ = [start(tmp_path, '["0", "3"]') for _ in range(3)]
    said = [told(worker) for worker in workers_]
    for worker in workers_:
        worker.communicate()
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in said) == ["0", "0", "3"]
    for each in said:
        assert each["OMP_NUM_THREADS"] == "3"
        assert each["TF_NUM_INTRAOP_THREADS"] == "7"
        assert each["PROJECT_ROOT"] == "/given"
    reporter.close()
    lines = capsys.readouterr().out.splitlines()  # those of several may come in turn
    assert sorted(lines) == ["a line"] * 3 + ["of a worker"] * 3


def test_a_place_is_free_again_when_its_worker_has_ended(tmp_path):
    for _ in range(2):
        worker = start(tmp_path, '["0", "3"]')
        assert told(worker)["CUDA_VISIBLE_DEVICES"] == "0"
        worker.kill()
        worker.communicate()


def test_a_worker_ends_with_its_sweep_but_not_before_its_cell(tmp_path):
    sweep = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = processes.current_process() | {
        "pid": sweep.pid,
        "pid_started": psutil.Process(sweep.pid).create_time(),
    }
    idle = start(tmp_path, "[]", json.dumps(process))
    busy = start(tmp_path, "[]", json.dumps(process), "busy")
    assert told(idle)
    assert told(busy)
    time.sleep(0.3)
    assert idle.poll() is None
    sweep.kill()
    sweep.wait()
    assert idle.wait(timeout=20) == 1
    time.sleep(0.3)
    assert busy.poll() is None
    busy.stdin.write("\n")
    busy.stdin.flush()
    assert busy.stdout.readline() == "done\n"
    assert busy.wait(timeout=20) == 1


def test_the_sweeps_own_process_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    workers.begin(workers.Settings(str(tmp_path), 3))
    assert "OMP_NUM_THREADS" not in os.environ
