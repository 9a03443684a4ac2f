"""One cell: a Hydra job in a run of its own, whose errors are sentences."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path

import mlflow
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput, comparison, rows, terminal, tracking
from sweep.callback.configs import build, check, name, params
from sweep.evidence import threat_model

PARENT = "parent.json"  # in the sweep's folder: how its cells, in whatever process, find the parent


def tracked(story: Callable[[DictConfig, tracking.Log], None]) -> Callable[[DictConfig], None]:
    """Make a Hydra job of `story(cfg, log)`: checked, in a run of its own, errors in a sentence.

    In a sweep a failing cell is marked and the next goes on; alone it ends the program.
    """

    @wraps(story)
    def job(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        alone = hydra.mode == RunMode.RUN
        try:
            if alone:
                check(cfg)
                sweep = {"parent": None, "experiment": connect(cfg), "varying": None}
            else:
                sweep = json.loads((Path(hydra.sweep.dir) / PARENT).read_text())
                connect(cfg)
            with tracking.run(
                sweep["experiment"],
                name=name(cfg, hydra.overrides.task, sweep["varying"]),
                params=params(cfg),
                tags={
                    "job": 0 if alone else hydra.job.num,
                    "sweep": sweep["parent"] or "none",
                    "threat_model": threat_model(build(cfg.prune.order)),
                },
                parent=sweep["parent"],
            ) as log:
                log.text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
                if not alone:
                    check(cfg)
                story(cfg, log)
            if alone:
                show(hydra.overrides.task, log, table=not cfg.inspect)
        except Exception as error:
            if alone:
                fail(error)
            if not isinstance(error, BadInput):
                traceback.print_exc()
        except KeyboardInterrupt:
            print("prunesweep: interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return job


def show(overrides: Sequence[str], log: tracking.Log, *, table: bool) -> None:
    """Print the one row of a cell that ran alone, if it has a `table`, and where to look at it."""
    if table:
        comparison.show(rows.rows([overrides], [mlflow.get_run(log.run_id)]))
    terminal.say(f"Look at the run in a browser: {tracking.how_to_look()}", wrap=False)


def fail(error: Exception) -> None:
    """End the program with `error`: one sentence for bad input, a traceback for all else."""
    if not isinstance(error, BadInput) or os.environ.get("HYDRA_FULL_ERROR"):
        traceback.print_exception(error)
        raise SystemExit(1)
    print(f"prunesweep: {error}", file=sys.stderr)
    raise SystemExit(2)


def connect(cfg: DictConfig) -> str:
    """Connect to MLflow as `cfg` says; the experiment's id."""
    root = Path(os.environ["PROJECT_ROOT"])
    return tracking.connect(cfg.tracking.uri, cfg.tracking.experiment, root)
