"""Which process wrote something, and whether it still runs: to clean up after one that died.

A process is known by host, pid and start time, so that neither one of another machine nor one that
has been given the pid since is mistaken for it.
"""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import psutil

CLOCK = 2.0  # seconds by which a machine's clock may have been set meanwhile


def current_process() -> dict[str, str | float]:
    """Return `host`, `pid` and `pid_started` (seconds since 1970) of this process."""
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "pid_started": started}


def peak_memory() -> int:
    """Return the most memory that this process has had resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage adds what the process that started this one had
        peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if peak:
            return 1024 * int(peak[1])
    return getrusage(RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def is_here(process: Mapping[str, str | float]) -> bool:
    """Return whether a process is, or was, one of this machine."""
    return process.get("host") == socket.gethostname()


def is_current(process: Mapping[str, str | float]) -> bool:
    """Return whether a process is this one."""
    return is_here(process) and str(process.get("pid")) == str(os.getpid()) and not is_dead(process)


def is_dead(process: Mapping[str, str | float]) -> bool:
    """Return whether a process has surely ended; one of another host never has.

    A zombie, whose parent has not asked yet how it went, has ended too. `process` is what
    `current_process` returned there; values may have become text since.
    """
    if not is_here(process):
        return False
    try:
        pid, recorded_start = int(process["pid"]), float(process["pid_started"])
    except (KeyError, ValueError):
        return False
    try:
        found = psutil.Process(pid)
        started, status = found.create_time(), found.status()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return status == psutil.STATUS_ZOMBIE or abs(started - recorded_start) > CLOCK


def others_with_open(path: Path) -> list[str]:
    """Return the processes of this machine but this one that have a file open: "sqlite3 (pid 7)".

    Those of other users are not seen.
    """
    found = []
    for process in psutil.process_iter():
        try:
            files = {file.path for file in process.open_files()}
            if process.pid != os.getpid() and str(path.resolve()) in files:
                found.append(f"{process.name()} (pid {process.pid})")
        except psutil.Error:
            continue
    return found
