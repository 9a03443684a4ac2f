"""The command `python -m sweep.register`: a run, or a sweep's pick, into MLflow's model registry.

python -m sweep.register RUN NAME          the GoodNet of a run, or of the pick of a sweep
"""

import argparse
from collections.abc import Sequence

import mlflow
from mlflow import MlflowException
from mlflow.entities import Run

from sweep import BadInput, terminal
from sweep.redaction import redacted
from sweep.registry import names, registering
from sweep.results import searches, sources
from sweep.tracking import store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    options = _parser().parse_args(arguments)
    return terminal.exit_code(
        lambda: terminal.print_line(_register(options.run, options.name, options.uri))
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.register",
        description="Register the GoodNet of a finished run, or of the pick of a sweep, as "
        "models:/NAME, and its B' as models:/NAME-repaired. The alias best moves only to a better "
        "version.",
    )
    parser.add_argument("run", metavar="RUN", help="the id of a run or of a sweep's own run")
    parser.add_argument("name", metavar="NAME", help="what it is to be called in the registry")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    return parser


def _register(run_id: str, name: str, uri: str | None) -> str:
    """Register it, and return the line that is printed; BadInput where that cannot be."""
    names.require(name, "NAME")
    store.use_existing(uri)
    try:
        run = _run(run_id)
        if "cells" not in run.data.tags:
            return registering.register(run_id, name)
        cells = [entry.cell for entry in sources.of_sweep(run)]
        return registering.register_pick(searches.pick_of(run, cells), name)
    except BadInput:
        raise
    except Exception as error:  # of MLflow, and of what it stands on
        failure = store.logging_failure(error)
        if failure is None:
            raise
        raise failure from error


def _run(run_id: str) -> Run:
    try:
        run = mlflow.get_run(run_id)
    except MlflowException as error:
        if store.logging_failure(error):
            raise
        place = redacted(mlflow.get_tracking_uri())
        reason = redacted(str(error)).splitlines()[0][:200]
        raise BadInput(
            f"run {run_id} cannot be read from {place} ({reason}); expected the id of a run or of "
            f"a sweep, as in comparison.csv or in the browser"
        ) from error
    if not {"cells", "job"} & set(run.data.tags):
        raise BadInput(
            f"run {run_id} ({run.info.run_name}) is not one of this program; expected a sweep or a "
            f"cell, made by run.py"
        )
    return run
