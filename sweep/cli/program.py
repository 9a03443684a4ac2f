"""The program around Hydra: how it begins, how cells are launched, and how it ends.

Whatever happens in between: a signal, a worker that is killed, a server that is gone.
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from sweep import interrupts, terminal
from sweep.cli.grid import SWEEPERS
from sweep.cli.jobs import TRACEBACKS, Stopped, exit_with_error
from sweep.cli.sweeps import Sweep
from sweep.launching import pools, submitted
from sweep.tracking import store


def launch(main: Callable[[], None]) -> None:
    """Run Hydra's `main`; of a sweep that is interrupted the cells are compared all the same."""
    interrupts.raise_on_signals()
    os.environ["PROJECT_ROOT"] = str(Path(inspect.getfile(inspect.unwrap(main))).resolve().parent)
    sys.path.append(os.getcwd())  # what is one's own is found beside the command, ours before it
    os.environ["SWEEP_TRACEBACKS"] = "1" if TRACEBACKS else ""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what Hydra refuses is told here
    _take_over_plugins()
    try:
        _run_hydra(main)
    except KeyboardInterrupt as interrupt:
        terminal.print_error("interrupted")
        _end("KILLED", interrupts.exit_code(interrupt))
    except Stopped as stopped:
        store.stop_retrying()  # a worker has waited
        terminal.print_error(str(stopped))
        _end("FAILED", 1)
    except SystemExit as ended:
        _end("FAILED", ended.code)


def _take_over_plugins() -> None:
    """Put `CellSweeper` in place of Hydra's own sweeper, and our own yaml in place of Ray's."""
    for sweeper in SWEEPERS.values():
        Plugins.instance().class_name_to_class[sweeper] = CellSweeper
    launchers = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    launchers.pop("ray.yaml", None)  # conf/hydra/launcher/ray.yaml has all keys


def _end(status: str, code: str | int | None) -> NoReturn:
    """End the program, and before it a sweep that is still at work."""
    interrupts.ignore_signals()
    if Sweep.current is not None:
        with suppress(BaseException):  # who is in a hurry goes without the table, so a full disk
            Sweep.current.end(status)
    raise SystemExit(code)


def _run_hydra(main: Callable[[], None]) -> None:
    """Run Hydra's `main`; what it refuses is told in a sentence."""
    try:
        main()
    except BrokenPipeError:  # of what Hydra prints itself
        terminal.discard_output(sys.stdout)
        raise SystemExit(128 + signal.SIGPIPE) from None
    except Exception as error:
        exit_with_error(error)


class CellSweeper(Sweeper):
    """In place of Hydra's own sweeper: launches the cells that its `Sweep` says are to be run.

    Of a grid these are those that were not finished before, of a search what is to be tried next.
    Where a cell is left, since another sweep was at work on it or a worker took it along, there is
    another round. `hydra.sweeper.max_batch_size` is how many are launched at once.
    """

    def __init__(self, max_batch_size: int | None, params: DictConfig | None = None) -> None:
        self.max_batch_size = max_batch_size
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config: DictConfig | None = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        sweep = Sweep.current
        assert sweep is not None
        assert self.config is not None
        _save(self.config)
        for cells in sweep.rounds():
            for batch in _batches(cells, self.max_batch_size or sweep.launcher.at_once):
                self._launch(sweep, batch)
        return []

    def _launch(self, sweep: Sweep, batch: Sequence[int]) -> None:
        """Launch these cells, and wait for them; an exception of a job is raised here."""
        assert self.launcher is not None
        if sweep.plan.stopped:
            return
        first = sweep.begin_jobs(batch)
        try:
            with pools.watch(), submitted.watch():
                overrides = [sweep.overrides[cell] for cell in batch]
                results = self.launcher.launch(overrides, initial_job_idx=first)
        except pools.WorkerKilled as killed:
            sweep.lose_worker(killed.ended_by_pool)
        except submitted.JobsFailed as failed:
            sweep.lose_jobs([batch[number] for number in failed.numbers])
        else:
            for result in results:
                _ = result.return_value
        if sweep.plan.stop_reason:
            raise Stopped(sweep.plan.stop_reason)


def _save(config: DictConfig) -> None:
    """Write down the multirun in its folder, as Hydra does."""
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")


def _batches(cells: Sequence[int], size: int | None) -> Iterator[Sequence[int]]:
    """The cells, at most `size` together; None: all."""
    size = size or len(cells)
    return (cells[start : start + size] for start in range(0, len(cells), size))
