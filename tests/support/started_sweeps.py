"""Sweeps that tests start as a user does, beside themselves, to send signals to them."""

import os
import random
import signal
import time
from collections.abc import Mapping

import psutil
from crashes import Project
from program import ENVIRONMENT, Started

#: Cells that are at work long enough to be met.
LONG = ("repair=[finetune]", "repair.finetune.epochs=160", "repair.finetune.patience=160")


class Sweep:
    """`python run.py` in a session of its own, as in a terminal, and what it prints."""

    def __init__(
        self, project: Project, *more: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.output = project.folder / f"printed-{random.random()}"
        self.process = Started(
            project.folder,
            "run.py",
            *project.overrides,
            *more,
            environment=ENVIRONMENT | dict(environment or {}),
            print_to=self.output,
        )

    @property
    def printed(self) -> str:
        return self.output.read_text()

    @property
    def words(self) -> str:
        return " ".join(self.printed.split())

    def workers(self) -> list[psutil.Process]:
        """The processes of the sweep that run cells."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "popen_loky" in " ".join(child.cmdline())]

    def wait(self) -> int:
        return self.process.wait(timeout=240)


def running(project: Project, count: int) -> list:
    """The runs of so many cells that are at work, as soon as they are."""
    for _ in range(600):
        cells = [run for run in project.runs() if "job" in run.data.tags]
        at_work = [run for run in cells if run.info.status == "RUNNING"]
        if len(at_work) >= count:
            return at_work
        time.sleep(0.1)
    raise TimeoutError("no cell is at work")


def end_one_at_work(project: Project, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the process of a cell that is surely at work: it is stopped, and looked at.

    Two cells are at work when this begins.
    """
    for _ in range(20):
        cell = running(project, 2)[0]
        pid = int(cell.data.tags["pid"])
        os.kill(pid, signal.SIGSTOP)
        now = {run.info.run_id: run.info.status for run in project.runs()}
        if now[cell.info.run_id] == "RUNNING":
            os.kill(pid, how)
            os.kill(pid, signal.SIGCONT)
            return
        os.kill(pid, signal.SIGCONT)
    raise TimeoutError("each cell was done before it could be stopped")
