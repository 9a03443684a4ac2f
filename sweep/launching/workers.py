"""A process that a launcher has started for cells of a sweep: its share of the machine, its words.

A launcher pickles the callback of a sweep (`cli.Sweep`), and so `Settings` reach the worker before
TensorFlow has started there.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sweep import processes, terminal
from sweep.launching import progress
from sweep.redaction import redact_files

#: What TensorFlow and NumPy read when they start.
THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
DEVICES = "CUDA_VISIBLE_DEVICES"
#: What the program sets for itself, and its workers need, also those of another machine.
INHERITED = ("PROJECT_ROOT", "SWEEP_TRACEBACKS", "HYDRA_FULL_ERROR")
EVERY = 30.0  # seconds between two lines of progress of a worker
LOOK = 5.0  # seconds between two looks at whether the sweep's process lives


@dataclass(frozen=True)
class Settings:
    """What a worker is told: its sweep's folder, and its share of the machine.

    threads: None where nobody else divides them; devices: the GPUs that are shared out, none where
    the launcher does that; process: the one that has started the sweep.
    """

    folder: str
    threads: int | None = None
    devices: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: Mapping[str, str | float] = field(default_factory=processes.current_process)
    width: int = 80


_begun_for = ""  # the folder of the sweep that this process has been made ready for
_at_work = threading.Lock()  # held while a cell runs
_held: tuple[FileLock, int] | None = None  # this worker's place among all, until it ends


class InWorker(Callback):
    """Around the cells that a worker runs: Hydra writes down what it launches, passwords too."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.runtime.output_dir, config.hydra.output_subdir or "")
        redact_files([*folder.glob("*.yaml"), multirun_file(config)])


def multirun_file(config: DictConfig) -> Path:
    """The file in which Hydra writes down a multirun."""
    return Path(config.hydra.sweep.dir) / "multirun.yaml"


def begin(settings: Settings) -> InWorker:
    """What a sweep's callback becomes in a process that a launcher has started, made ready here."""
    global _begun_for
    if _begun_for != settings.folder and not processes.is_current(settings.process):
        _prepare(settings)
        _begun_for = settings.folder  # it is sent with each cell
    return InWorker()


def _prepare(settings: Settings) -> None:
    """Give this process its share of the machine, before TensorFlow starts, and its words a way."""
    for name, value in settings.environment.items():
        os.environ.setdefault(name, value)
    if settings.threads:
        for name in THREADS:
            os.environ.setdefault(name, str(settings.threads))
    folder = Path(settings.folder)
    if settings.devices:
        os.environ[DEVICES] = _own_device(folder, settings.devices)
    terminal.speak_to(lambda line: progress.tell(folder, line), settings.width, EVERY)
    threading.Thread(target=_end_with_sweep, args=(settings.process,), daemon=True).start()
    with terminal.quiet():
        import tensorflow  # noqa: F401


@contextmanager
def at_work() -> Iterator[None]:
    """Keep this process alive meanwhile, also where the sweep's own has died."""
    with _at_work:
        yield


def _end_with_sweep(process: Mapping[str, str | float]) -> None:
    """End this process when the sweep's own has died, once it is not at work on a cell."""
    while not processes.is_dead(process):
        time.sleep(LOOK)
    with _at_work:
        os._exit(1)


def inherited() -> dict[str, str]:
    """What of this process's environment its workers are to have."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def threads_of(workers: int) -> int:
    """Threads of each of so many workers on this machine."""
    return max(1, cores() // workers)


def cores() -> int:
    """The cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(usable(0)) if usable else os.cpu_count() or 1


def gpus() -> tuple[str, ...]:
    """The GPUs of this machine, by what CUDA_VISIBLE_DEVICES calls them."""
    if DEVICES in os.environ:
        return tuple(filter(None, os.environ[DEVICES].split(",")))
    try:
        listed = subprocess.check_output(["nvidia-smi", "--list-gpus"], text=True, stderr=-3)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(str(number) for number, _ in enumerate(listed.splitlines()))


def _own_device(folder: Path, devices: tuple[str, ...]) -> str:
    """The device of this process, as long as it lives; more workers than devices share them."""
    global _held
    if _held is None:
        for place in count():
            lock = FileLock(folder / f".worker-{place}.lock")
            with suppress(Timeout):
                lock.acquire(timeout=0)
                _held = (lock, place)
                break
    assert _held is not None
    return devices[_held[1] % len(devices)]
