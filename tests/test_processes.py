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
    assert processes.this() == {"host": HERE, "pid": os.getpid(), "pid_started": MINE}
    assert not processes.dead(processes.this())


def test_a_process_that_has_ended_is_dead():
    code = "from sweep import processes; print(processes.this())"
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert processes.dead(eval(told))


@pytest.mark.parametrize(
    ("host", "pid", "started", "dead"),
    [
        (HERE, str(os.getpid()), str(MINE), False),
        (HERE, os.getpid(), MINE + 1, False),  # the clock was set
        (HERE, os.getpid(), MINE - 3600, True),  # the number was given anew
        (HERE, GONE, MINE, True),
        ("elsewhere", GONE, MINE, False),
        (HERE, "none", MINE, False),
        (HERE, GONE, "long ago", False),
    ],
)
def test_who_is_of_another_machine_or_not_well_told_is_not_dead(host, pid, started, dead):
    assert processes.dead({"host": host, "pid": pid, "pid_started": started}) is dead


def test_of_whom_nothing_is_told_is_not_dead():
    assert not processes.dead({})
    assert not processes.dead({"host": HERE, "pid": GONE})
