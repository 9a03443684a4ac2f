"""Which process made something, and whether it lives: to tell what a dead one left behind.

A process is known by host, number and start, so that neither one of another machine nor one that
has got the number since is mistaken for it.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil

CLOCK = 2.0  # seconds by which a machine's clock may have been set meanwhile


def this() -> dict[str, Any]:
    """`host`, `pid` and `pid_started`, in seconds since 1970, of this process."""
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "pid_started": started}


def dead(process: Mapping[str, Any]) -> bool:
    """Whether a process that `this` told of has surely ended; one of another host never has."""
    if process.get("host") != socket.gethostname():
        return False
    try:
        number, told = int(process["pid"]), float(process["pid_started"])
    except (KeyError, ValueError):
        return False
    try:
        started = psutil.Process(number).create_time()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return abs(started - told) > CLOCK
