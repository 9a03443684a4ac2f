"""One cell: a Hydra job in a run of its own, whose errors are sentences."""

import os
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput, interrupts, processes, terminal, tracking
from sweep.cli import hydra_errors
from sweep.cli.checks import check, checked_parts, print_estimates
from sweep.cli.choices import chosen_names
from sweep.cli.configs import command, overrides_text, params, run_name
from sweep.cli.identity import digest
from sweep.launching import claims, progress, unsent, workers
from sweep.launching.plans import Plan
from sweep.registry import registering
from sweep.results import cells, comparison, descriptions
from sweep.results.pick import NOT_COMPUTED, Pick
from sweep.tracking import reserve, run_history, store, view
from sweep.tracking.servers import outages, patience

if TYPE_CHECKING:
    from sweep.cli.parts import Parts

# wanted also where a sentence would do; workers inherit what the first process was told
TRACEBACKS = bool(os.environ.get("SWEEP_TRACEBACKS", os.environ.get("HYDRA_FULL_ERROR")))

WAIT_FOR_END = 2.0  # seconds

#: What a cell does: of its config, its parts, what its choices are called, and its run.
Task = Callable[[DictConfig, "Parts", Mapping[str, str], tracking.Log], None]


def tracked(task: Task) -> Callable[[DictConfig], None]:
    """Return a Hydra job that runs `task` checked, in a run of its own, its errors in a sentence.

    In a sweep a failing cell is marked and the next goes on; alone it ends the program.
    """

    @wraps(task)
    def job(cfg: DictConfig) -> None:
        interrupts.raise_on_signals()
        if HydraConfig.get().mode == RunMode.RUN:
            try:
                _run_alone(task, cfg)
            except Exception as error:
                exit_with_error(error)
        else:
            _run_in_sweep(task, cfg)

    return job


def _run_alone(task: Task, cfg: DictConfig) -> None:
    """A cell by itself always runs."""
    parts = checked_parts(cfg)
    check(cfg, parts)
    if cfg.dry_run:
        terminal.print_line("1 cell, all right; a cell by itself always runs")
        print_estimates({0: cfg})
        return
    experiment, overrides = connect(cfg), list(HydraConfig.get().overrides.task)
    require_name(cfg)
    unsent.send(experiment, Path(os.environ["PROJECT_ROOT"]))
    run_history.mark_dead_runs(experiment)
    cell = digest(cfg, parts)
    tags = {"job": 0, "sweep": "none", run_history.CELL: cell}
    with (
        _start_run(experiment, cfg, run_name(cfg, overrides), tags) as log,
        claims.heartbeat(log.run_id),
    ):
        log.tags({"threat_model": parts.threat_model})
        _run_task(task, cfg, parts, log, cell)
        _describe(log, cfg, overrides)
    if not cfg.inspect:
        comparison.print_comparison(cells.cells_of([overrides], {0: log.run()}))
    if cfg.register is not None:
        _register(log.run_id, cfg.register)
    terminal.print_line(f"Look at the run in a browser: {store.view_command()}", wrap=False)


def _run_in_sweep(task: Task, cfg: DictConfig) -> None:
    """A cell of a sweep, which ends the sweep where nothing more can be logged.

    In a worker neither that nor a signal is raised: whether the sweep ends, its own process says.
    """
    plan = Plan.read(Path(HydraConfig.get().sweep.dir))
    in_worker = not processes.is_current(plan.process)
    try:
        interrupts.raise_pending()
        with workers.at_work():
            _run_or_stop(task, cfg, plan)
    except Stopped as stopped:
        if not plan.stop(str(stopped)) or not in_worker:
            raise
    except KeyboardInterrupt:
        if not in_worker:
            raise
        interrupts.forget()
        time.sleep(WAIT_FOR_END)  # the sweep's process may have been given the same signal


def _run_or_stop(task: Task, cfg: DictConfig, plan: Plan) -> None:
    """Run a cell; raises Stopped where nothing more can be logged."""
    try:
        _run_if_planned(task, cfg, plan)
    except Exception as error:
        stop_on_logging_failure(error)
        raise


def _run_if_planned(task: Task, cfg: DictConfig, plan: Plan) -> None:
    """Run a cell where the plan wants it, and say in a line how it went."""
    hydra = HydraConfig.get()
    job = plan.launched[hydra.job.num]
    if not store.is_connected(cfg.tracking.uri, Path(os.environ["PROJECT_ROOT"])):
        connect(cfg)
    if not plan.wants(job):
        return
    overrides, started = list(hydra.overrides.task), time.monotonic()
    log = None
    try:
        with _start_cell(cfg, plan, job, overrides) as log:
            parts = checked_parts(cfg)
            log.tags({"threat_model": parts.threat_model})
            check(cfg, parts)
            _run_task(task, cfg, parts, log, plan.cells[job])
            _describe(log, cfg, overrides, plan.varying)
    except claims.Claimed:
        return
    except Exception as error:
        interrupts.raise_pending()
        if log is not None and log.complete:
            row = replace(cells.cell_of(job, {}, log.run()), status=unsent.STATUS)
            progress.tell(Path(plan.folder), "", cell=asdict(replace(row, error=unsent.KEPT)))
        stop_on_logging_failure(error)
        if not isinstance(error, BadInput):
            if TRACEBACKS:
                terminal.print_traceback(error)
            if log is not None:
                with suppress(Exception), log:  # the next cell sees when nothing can be logged
                    log.text("traceback.txt", traceback.format_exc())
    row = cells.cell_of(job, {}, None if log is None else log.run())
    name = overrides_text(overrides, plan.varying)
    took = terminal.duration(time.monotonic() - started)
    text = f"{name}: {comparison.summary(row)} ({took})"
    progress.tell(Path(plan.folder), text, done=True, cell=asdict(row))
    if cfg.fail_fast and not row.finished and row.status != tracking.SKIPPED:
        plan.stop()


@contextmanager
def _start_cell(
    cfg: DictConfig, plan: Plan, job: int, overrides: Sequence[str]
) -> Iterator[tracking.Log]:
    """A run that claims the cell; raises Claimed where another process has it, or finished it."""
    cell, name = plan.cells[job], run_name(cfg, overrides, plan.varying)
    tags = {"job": job, "sweep": plan.parent, view.SWEEPS: plan.parent, run_history.CELL: cell}
    with _start_run(plan.experiment, cfg, name, tags, plan.parent) as log:
        plan.claim(job, log.run_id)
        with claims.heartbeat(log.run_id):
            yield log


def _describe(
    log: tracking.Log, cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] = ()
) -> None:
    """Give the run of a cell that is done its full name and its description."""
    run = log.run()
    name = run_name(cfg, overrides, varying, run.data.tags.get("layer", ""))
    if not cfg.inspect:
        images = cells.image_counts(run)
        log.rename(name)
        log.describe(descriptions.of_cell(name, run.data.metrics, images, command(overrides)))


def _run_task(task: Task, cfg: DictConfig, parts: "Parts", log: tracking.Log, cell: str) -> None:
    """Run a cell that was checked; what it was when it was planned it must be to its end."""
    _require_unchanged(cfg, parts, cell)
    task(cfg, parts, chosen_names(cfg), log)
    _require_unchanged(cfg, parts, cell)


def _require_unchanged(cfg: DictConfig, parts: "Parts", cell: str) -> None:
    """Raise BadInput where a cell is not what it was when it was planned."""
    if digest(cfg, parts) != cell:
        raise BadInput(
            "images, network or code have changed meanwhile, or are others where the cell runs; "
            "give the same command again"
        )


@contextmanager
def _start_run(
    experiment: str,
    cfg: DictConfig,
    name: str,
    tags: Mapping[str, object],
    parent: str | None = None,
) -> Iterator[tracking.Log]:
    """A run that knows its settings, and is kept where it is complete and cannot be logged."""
    log = None
    try:
        with tracking.start_run(experiment, name, params(cfg), tags, parent) as log:
            log.text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            yield log
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt) and log and not log.outbox.empty
        if log is not None and log.complete and (interrupted or outages.is_unreachable(error)):
            unsent.keep(log, Path(os.environ["PROJECT_ROOT"]))
            terminal.print_line(unsent.KEPT)
        raise


class Stopped(BaseException):
    """Ends a sweep at once, as nothing more can be logged; its sentence says why."""


def stop_on_logging_failure(error: Exception) -> None:
    """Raise Stopped where `error` says that nothing more can be logged: nor could the next cell."""
    reason = store.logging_failure(error)
    if reason is not None:
        store.stop_retrying()
        reserve.release()
        raise Stopped(str(reason)) from error


def exit_with_error(error: Exception) -> NoReturn:
    """End the program with `error`: one sentence for bad input, a traceback for all else."""
    interrupts.raise_pending()
    cause = store.logging_failure(error) or hydra_errors.config_error(error) or error
    if not isinstance(cause, BadInput) or TRACEBACKS:
        terminal.print_traceback(error)
        raise SystemExit(1)
    terminal.print_error(str(cause))
    raise SystemExit(2)


def require_name(cfg: DictConfig) -> None:
    """Raise BadInput where what is to be registered cannot have its name, as somebody else has."""
    if cfg.register is not None:
        with registering.in_a_sentence(cfg.register):
            registering.require_free(cfg.register)


def require_name_of_sweep(cfg: DictConfig, differing: Collection[str]) -> None:
    """Raise BadInput where a sweep's pick cannot have its name; say where there will be no pick.

    `cfg` is that of any cell, and `differing` are the keys that are not the same in all.
    """
    if "register" in differing:
        raise BadInput("register came with several values; expected one name, for the one pick")
    require_name(cfg)
    if cfg.register is not None and not cfg.recheck and "recheck" not in differing:
        terminal.print_line(f"Nothing will be registered as {cfg.register}. {NOT_COMPUTED}")


def register_pick(chosen: Pick, name: str, *, cut_off: bool) -> None:
    """Register the pick of a sweep's cells as `name`, and say what became of it.

    Where there is none, or the sweep was `cut_off`, that is said; what is refused ends the program.
    """
    if cut_off or chosen.cell is None:
        why = "The sweep was cut off." if cut_off else chosen.sentence
        terminal.print_line(f"{why} Nothing is registered as {name}.")
        return
    try:
        _register(chosen.cell.run_id, name, f"cell {chosen.cell.job}")
    except Exception as error:
        stop_on_logging_failure(error)
        exit_with_error(error)


def _register(run_id: str, name: str, what: str = "") -> None:
    """Register a run as `name`, and say what became of it; on an error also how to do it later."""
    try:
        terminal.print_line(registering.register(run_id, name, what))
    except Exception:
        later = f"python -m sweep.register {run_id} {name}"
        terminal.print_line(f"Not registered. The run is kept; to register it: {later}", wrap=False)
        raise


def connect(cfg: DictConfig) -> str:
    """Connect to MLflow as `cfg` says and return the experiment's id."""
    root = Path(os.environ["PROJECT_ROOT"])
    patience.allow(cfg.tracking.patience)
    return store.connect(cfg.tracking.uri, cfg.tracking.experiment, root, cfg.tracking.artifacts)
