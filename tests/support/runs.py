"""Runs as MLflow gives them back, made by hand, and tables as a page shows them."""

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

COMMAND = "experiment=strategies case=signs"
ORIGIN = {"git_commit": "0123456789abcdef", "git_dirty": "false", "python": "3.12.1"}
ORIGIN |= {"keras": "3.99", "tensorflow": "2.98"}


def run(name: str, metrics=None, params=None, ended="FINISHED", at=0, **tags: str) -> Run:
    """A run as MLflow gives it back."""
    info = RunInfo(name, "1", "somebody", ended, at, at + 1, "active")
    numbers = [Metric(key, value, 0, 0) for key, value in (metrics or {}).items()]
    given = [Param(key, value) for key, value in (params or {}).items()]
    return Run(info, RunData(numbers, given, [RunTag(*item) for item in tags.items()]))


def parent(name: str = "p", overrides: str = COMMAND, **more) -> Run:
    """A sweep's own run."""
    return run(name, overrides=overrides, **{"cells": "1", **ORIGIN, **more})


def intervals(rates: dict[str, float]) -> dict[str, float]:
    """Rates, each with the ends of an interval of a point to either side."""
    ends = {f"{name}_low": rate - 0.01 for name, rate in rates.items()}
    return rates | ends | {f"{name}_high": rate + 0.01 for name, rate in rates.items()}


def kept(client: MlflowClient, experiment: str, made: Run) -> str:
    """A made run as one that MLflow holds: its id; where it is to be running it is left so."""
    info, data = made.info, made.data
    held = client.create_run(experiment, start_time=info.start_time, tags=data.tags).info.run_id
    metrics = [Metric(name, value, 0, 0) for name, value in data.metrics.items()]
    client.log_batch(held, metrics, [Param(*item) for item in data.params.items()])
    if info.status != "RUNNING":
        client.set_terminated(held, info.status)
    return held


def table(text: str, heading: str, number: int = 0, names: int = 1) -> dict[str, list[str]]:
    """A table below a heading: the cells of each row by its first, or by so many `names`."""
    below = text.split(f"# {heading}\n", 1)[1].split("\n#")[0].strip().split("\n\n")
    lines = [part for part in below if part[:1] == "|"][number].splitlines()
    rows = [line[2:-2].split(" | ") for line in lines]
    assert len({len(row) for row in rows}) == 1
    del rows[1]  # the rule below the headings
    return {" ".join(row[:names]).strip(): row[names:] for row in rows}
