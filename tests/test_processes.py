"""A process is dead only if it is this machine's and surely gone."""

import os
import socket
import subprocess
import sys

import psutil
import pytest

from sweep import processes

HERE, MINE = socket.gethostname(), psutil.Process().create_time()
GONE = 10**9


def test_this_process_lives():
    assert processes.current_process() == {"host": HERE, "pid": os.getpid(), "pid_started": MINE}
    assert not processes.is_dead(processes.current_process())


def test_the_peak_of_memory_is_that_of_this_process_and_stays():
    before = processes.peak_memory()
    assert before / psutil.Process().memory_info().rss > 0.5
    code = "from sweep import processes; a = processes.peak_memory(); b = b'1' * 10**8; del b; "
    code += "print(processes.peak_memory() - a)"
    assert 0.9e8 < int(subprocess.check_output([sys.executable, "-c", code])) < 1.3e8


def test_a_process_that_has_ended_is_dead():
    code = "from sweep import processes; print(processes.current_process())"
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert processes.is_dead(eval(told))


def test_a_process_that_its_parent_has_not_asked_yet_how_it_went_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time()
        told = {"host": HERE, "pid": child.pid, "pid_started": started}
        assert not processes.is_dead(told)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
        assert psutil.pid_exists(child.pid)
        assert processes.is_dead(told)


PROCESSES = {
    "this one": (HERE, str(os.getpid()), str(MINE), False),
    "this one, the clock was set": (HERE, os.getpid(), MINE + 1, False),
    "one whose number was given anew": (HERE, os.getpid(), MINE - 3600, True),
    "one that is gone": (HERE, GONE, MINE, True),
    "another machine's": ("elsewhere", GONE, MINE, False),
    "one with no number": (HERE, "none", MINE, False),
    "one with no start": (HERE, GONE, "long ago", False),
}


@pytest.mark.parametrize("which", PROCESSES)
def test_who_is_of_another_machine_or_not_well_told_is_not_dead(which):
    host, pid, started, dead = PROCESSES[which]
    assert processes.is_dead({"host": host, "pid": pid, "pid_started": started}) is dead


def test_of_whom_nothing_is_told_is_not_dead():
    assert not processes.is_dead({})
    assert not processes.is_dead({"host": HERE, "pid": GONE})


def test_who_else_has_a_file_open_is_named(tmp_path):
    path = tmp_path / "one"
    code = "import sys; file = open(sys.argv[1], 'w'); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        open(path, "w"),
        subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as other,
    ):
        other.stdout.readline()
        (name,) = processes.others_with_open(path)
        other.stdin.close()
    assert name.endswith(f" (pid {other.pid})")
    assert processes.others_with_open(path) == []
