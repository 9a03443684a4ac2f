"""What is to be tried next, by what was found: Optuna's samplers, asked and told.

The study lives in memory: what was found stands in MLflow's runs, and a study that is asked and
told the same again says the same again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep import BadInput
from sweep.search.space import DIGITS, Setting, Space, Value, Values, word

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial

AT_RANDOM = 5  # suggestions in turn that were tried before, after which they are drawn at random
EXHAUSTED = 100  # and after which nothing new is looked for
LOSS = "accuracy lost"  # the constraint's name
WITHOUT = "experiment=search needs the extra search: pip install -e '.[search]' -c constraints.txt"


#: The values of a trial as a key: the names of settings, and words of the command line.
Row = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Found:
    """What a trial came to: accuracy lost by B', and what attacks still do to it, both in 0..1.

    The smaller the better; `lost` is below 0 where B' is the more accurate.
    """

    lost: float
    success: float


@dataclass(frozen=True)
class Suggestion:
    """What is to be tried: values of a space, and Optuna's trial, which is told the outcome."""

    values: Values
    trial: Trial


class Study:
    """Asked for values of a space to try, and told what they came to.

    sampler: tpe, the tree-structured Parzen estimator for several objectives (Bergstra et al.,
    NeurIPS 2011; Ozaki et al., JAIR 2022), or random; seed: of what is drawn; most_lost: accuracy
    that a trial may lose, in 0..1, as a constraint (Watanabe & Hutter, arXiv 2211.14411). Raises
    BadInput where Optuna is not installed.
    """

    def __init__(self, space: Space, sampler: str, seed: int, most_lost: float) -> None:
        self.space, self.most_lost = space, most_lost
        optuna = _optuna()
        samplers = optuna.samplers
        self._random = samplers.RandomSampler(seed=seed + 1)  # not what tpe draws at first
        self._sampler = samplers.TPESampler(seed=seed) if sampler == "tpe" else self._random
        self._study: OptunaStudy = optuna.create_study(directions=["minimize", "minimize"])

    def ask(self, *, at_random: bool = False) -> Suggestion:
        """What to try next; `at_random`: drawn from the whole space, whatever was found."""
        self._study.sampler = self._random if at_random else self._sampler
        trial = self._study.ask()
        values: dict[str, Value] = {}
        for setting in self.space.settings:
            if self.space.is_chosen(setting, values):
                values[setting.name] = _suggest(trial, setting)
        return Suggestion(values, trial)

    def tell(self, suggestion: Suggestion, found: Found | None) -> None:
        """Tell what a suggestion came to; None: to nothing, it failed."""
        if found is None:
            self._study.tell(suggestion.trial, state=_optuna().trial.TrialState.FAIL)
            return
        with warnings.catch_warnings(action="ignore"):  # of constraints, that they are new
            suggestion.trial.set_constraint(LOSS, found.lost - self.most_lost)
        self._study.tell(suggestion.trial, [found.lost, found.success])

    def add(self, values: Values, found: Found) -> None:
        """Tell of what was not asked for: the part of it that the space has, and its outcome."""
        distributions = {
            setting.name: _distribution(setting)
            for setting in self.space.settings
            if setting.name in values
        }
        with warnings.catch_warnings(action="ignore"):
            trial = _optuna().trial.create_trial(
                params=dict(values),
                distributions=distributions,
                values=[found.lost, found.success],
                constraints={LOSS: found.lost - self.most_lost},
            )
        self._study.add_trial(trial)


def _suggest(trial: Trial, setting: Setting) -> Value:
    if setting.choices:
        return str(trial.suggest_categorical(setting.name, list(setting.choices)))
    if setting.whole:
        return trial.suggest_int(setting.name, int(setting.low), int(setting.high), log=setting.log)
    drawn = trial.suggest_float(setting.name, setting.low, setting.high, log=setting.log)
    return min(setting.high, max(setting.low, float(f"{drawn:.{DIGITS}g}")))


def _distribution(setting: Setting) -> Any:
    distributions = _optuna().distributions
    if setting.choices:
        return distributions.CategoricalDistribution(list(setting.choices))
    if setting.whole:
        return distributions.IntDistribution(int(setting.low), int(setting.high), log=setting.log)
    return distributions.FloatDistribution(setting.low, setting.high, log=setting.log)


def require_optuna() -> None:
    """Raise BadInput where Optuna is not installed."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise BadInput(WITHOUT) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def replayed(study: Study, table: Mapping[Row, Found], trials: int) -> list[Row]:
    """The rows of a `table` that a study asks for, trial by trial, where each is read off there.

    What was tried before counts as no trial, and what is not in the table has failed. It ends early
    where nothing new is found.
    """
    tried: list[Row] = []
    repeats = 0
    while len(tried) < trials and repeats < EXHAUSTED:
        suggestion = study.ask(at_random=repeats >= AT_RANDOM)
        row = row_of(suggestion.values)
        study.tell(suggestion, table.get(row))
        if row in tried:
            repeats += 1
        else:
            repeats = 0
            tried.append(row)
    return tried


def row_of(values: Values) -> Row:
    """The key of these values in a table of all."""
    return tuple(sorted((name, word(value)) for name, value in values.items()))
