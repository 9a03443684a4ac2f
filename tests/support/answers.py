"""Cells of `experiment=answer`, made by hand, and the page that is written of them."""

from itertools import count

from mlflow.entities import Run
from runs import intervals, parent, run

from sweep.results.pages.answer.page import page
from sweep.results.pages.answer.reading import newest_strategy_runs
from sweep.results.pages.answer.runs import StrategyRun

SWEEP = "experiment=answer case=signs data.root=/home/me/signs attack=patch,blend"
number = count()


def rates(lost=0.01, left=0.02, alarms=0.015, passed=0.03, flagged=0.01) -> dict[str, float]:
    """The metrics of a cell; `lost` and `left` by B', `flagged` and `passed` by GoodNet."""
    told = {
        "badnet/clean_accuracy": 0.95,
        "badnet/attack_success_rate": 0.99,
        "repaired/clean_accuracy": 0.95 - lost,
        "repaired/attack_success_rate": left,
        "repaired/robust_accuracy": 0.8,
        "goodnet/clean_accuracy": 0.95 - flagged,
        "goodnet/attack_success_rate": passed,
        "goodnet/false_alarm_rate": alarms,
    }
    return intervals(told) | {"prune/channels": 4.0, "time/total": 70.0, "time/badnet": 30.0}


FAILS = rates(left=0.9, passed=0.9)
MASK = {"repair.unlearn.by": "[mask]"}
CLEAN = {"attack.rate": "1e-06"}


def cell(
    strategy="answer", attack="patch", seed=0, metrics=None, of="p", more=None, at=0, **tags
) -> Run:
    """A cell of a sweep, as the strategy sets it but for `more`."""
    params = {"case": "signs", "attack": attack, "attack.rate": "0.1", "strategy": strategy}
    params |= {"badnet.seed": str(seed), "seed": "0", "data.valid_images": "None"}
    params |= {"prune.frac": "0.01", "prune.stop.frac": "0.01", "prune.order._target_": "a.b"}
    params |= {"repair": "[unlearn]", "repair.unlearn.by": "universal"} | (more or {})
    ended = tags.pop("ended", "FINISHED")
    words = {"mlflow.parentRunId": of, "job": "0", "threat_model": "defender", **tags}
    told = rates() if metrics is None else metrics
    return run(f"c{next(number)}", told, params, ended, at, **words)


def given(images: int, **more: str) -> dict[str, str]:
    """The settings of a defender who has at most so many clean images."""
    return {"data.valid_at_most": str(images), **more}


def judged(suspects: int, **more) -> dict[str, float]:
    """All metrics of a cell, how many classes stand out, and how far, which tells how probably."""
    probability = 0.9 if suspects else 0.2
    found = {"suspects": float(suspects), "score": 10 * probability, "probability": probability}
    return rates(**more) | {f"inspect/{name}": value for name, value in found.items()}


def tried(*cells: Run) -> list[StrategyRun]:
    """The strategy runs of these cells."""
    return newest_strategy_runs([parent(overrides=SWEEP), *cells])


def shown(*cells: Run) -> str:
    """The page of these cells."""
    return page(tried(*cells))
