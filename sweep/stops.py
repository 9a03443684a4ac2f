"""How many channels: a stop reads the curve on clean validation images and names one step.

A stop is a pure function `(curve: ValidCurve, ...) -> Stop`. A `ValidCurve` holds nothing but what
a defender can count on clean validation images, so a stop cannot look at test images or at attack
success. A criterion is looked for at the steps between the first and the last, where none and all
channels are pruned; where none of them meets it, the stop says so (not reached).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.evaluation import ValidCurve, significance
from sweep.evaluation.curve import Steps

# Counts of images decide, never rounded rates: 0.02 * 3000 must mean 60 whatever its float says.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Stop:
    """The chosen step (= channels pruned), and whether its criterion was met at all.

    The step is one of the curve's.
    """

    step: int
    reached: bool = True


def accuracy_drop(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop where clean validation accuracy has dropped by at least `frac` (0.02 = 2 points).

    The lab's criterion: correct[0] - correct[k] >= frac * images. A rise is never a drop.
    `keep="breaching"` gives the first such step, `"safe"` the step before it (0 where the very
    first one breaches). Where no candidate breaches: the last step that leaves a channel, not
    reached.
    """
    _check(frac=frac)
    breaches = (curve.drop > 0) & (curve.drop >= frac * curve.images - TOLERANCE)
    return _first(curve.steps, breaches, keep)


def relative_drop(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop where at least `frac` of the images that B gets right are lost.

    correct[0] - correct[k] >= frac * correct[0]: 0.02 of an accuracy of 50 % is one point, where
    `accuracy_drop` reads two. A rise is never a drop. `keep` as in `accuracy_drop`.
    """
    _check(frac=frac)
    breaches = (curve.drop > 0) & (curve.drop >= frac * curve.correct[0] - TOLERANCE)
    return _first(curve.steps, breaches, keep)


def confident_drop(curve: ValidCurve, *, alpha: float, keep: str = "breaching") -> Stop:
    """Stop where the drop is more than the number of validation images leaves to chance.

    One-sided exact McNemar test of each step against B: p <= alpha of so many newly wrong among
    the images that became wrong or right. A rise is never a drop. `keep` as in `accuracy_drop`.
    Steps are tested one after the other and alpha is not corrected for so many looks: the chance
    to stop somewhere without a real drop is greater than alpha, so this stops rather too early
    than too late. With fewer images it stops later. Source: McNemar, Psychometrika 1947.
    """
    _check(alpha=alpha)
    counts = zip(curve.newly_wrong, curve.newly_right, strict=True)
    breaches = [
        wrong > right and significance.mcnemar(wrong, right) <= alpha for wrong, right in counts
    ]
    return _first(curve.steps, np.array(breaches), keep)


def agreement(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop where at least `frac` of the images get another class than B gives them.

    differ[k] >= frac * images: what GoodNet flags of clean validation images. It reads no labels.
    `keep` as in `accuracy_drop`.
    """
    _check(frac=frac)
    breaches = (curve.differ > 0) & (curve.differ >= frac * curve.images - TOLERANCE)
    return _first(curve.steps, breaches, keep)


def knee(curve: ValidCurve) -> Stop:
    """Stop at the elbow of clean validation accuracy, beyond which it falls faster.

    The first of the steps that lie farthest above the chord from (0, correct[0]) to (channels,
    correct[-1]); where none lies above it, the last step that leaves a channel, not reached. It has
    no settings, and no step before it that were safer. Source: Kneedle, Satopaa et al., "Finding a
    Kneedle in a Haystack", ICDCS Workshops 2011, without its smoothing and sensitivity.
    """
    above = curve.steps * curve.drop[-1] - curve.channels * curve.drop  # whole numbers: exact
    place = int(above.argmax())  # 0 where no other is above 0, as at both ends
    return Stop(int(curve.steps[place])) if place else Stop(int(curve.steps[-2]), reached=False)


def outlier(curve: ValidCurve, *, u: float) -> Stop:
    """Stop before the first channel whose score is not more than `u` deviations off.

    Channels are pruned as long as the next one's score is < -u, and at most all but one; with
    `prune.step` up to the last step that prunes no other. Where there is none: nothing is pruned,
    not reached. Source: CLP, Zheng et al., ECCV 2022, arXiv 2208.03111 (BNP and EP of the same
    authors alike): score > mean + u * std of the layer, highest first, u = 3. In one ranking of
    these scores that is the same channels. With `prune.scope=layer` channels of several layers take
    turns, and the first that is no outlier ends it, though outliers of another layer may follow.
    With `prune.recompute` a score is told among the channels that were left when this one was
    chosen. Infinite scores are outliers. Of 10 channels or fewer, no finite score can lie 3
    deviations off.
    """
    if not 0 < u < math.inf:
        raise BadInput(
            f"prune.u is {u}; expected a number of deviations above 0 (3 = as published)"
        )
    if curve.scores is None:
        raise ValueError("the stop outlier reads the channels' scores; this curve has none")
    outliers = np.append(curve.scores < -u, False)
    step = _last_within(curve.steps, int(outliers.argmin()))
    return Stop(step, reached=step > 0)


def channel_fraction(curve: ValidCurve, *, frac: float, keep: str = "breaching") -> Stop:
    """Stop after the share `frac` of the channels, whatever the accuracy.

    `keep="breaching"` rounds up to a step of the curve, `"safe"` down; one channel must be left.
    """
    _check(keep=keep, frac=frac)
    exact = frac * curve.channels
    if keep == "safe":
        return Stop(_last_within(curve.steps, math.floor(exact + TOLERANCE)))
    return _first_with(curve.steps, min(math.ceil(exact - TOLERANCE), curve.channels - 1))


def channel_count(curve: ValidCurve, *, count: int) -> Stop:
    """Stop after `count` channels, whatever the accuracy; one must be left.

    With `prune.step`: at the first step at which as many are pruned. After 0 nothing is: what is
    done then is left to repairs.
    """
    if type(count) is not int or not 0 <= count < curve.channels:
        raise BadInput(
            f"prune.count is {count!r}, of {curve.channels} channels that can be pruned; "
            f"expected a whole number from 0 to {curve.channels - 1}, so that one is left"
        )
    return _first_with(curve.steps, count)


def _first(steps: Steps, breaches: NDArray[np.bool_], keep: str) -> Stop:
    """The first candidate of `breaches`, (steps,), or with `keep="safe"` the step before."""
    _check(keep=keep)
    candidates = np.flatnonzero(breaches[1:-1]) + 1
    if not len(candidates):
        return Stop(int(steps[-2]), reached=False)
    return Stop(int(steps[candidates[0] - (keep == "safe")]))


def _first_with(steps: Steps, count: int) -> Stop:
    """The first step at which `count` channels are pruned, if that leaves one."""
    enough = steps[:-1][steps[:-1] >= count]
    return Stop(int(enough[0])) if len(enough) else Stop(int(steps[-2]), reached=False)


def _last_within(steps: Steps, count: int) -> int:
    """The last step at which no more than `count` channels are pruned, and one is left."""
    return int(steps[:-1][steps[:-1] <= count][-1])


def _check(keep: str = "safe", **shares: float) -> None:
    for key, share in shares.items():
        if not 0 < share < 1:
            raise BadInput(
                f"prune.{key} is {share}; expected a fraction between 0 and 1 (0.02 = 2 %)"
            )
    if keep not in ("breaching", "safe"):
        raise BadInput(f"prune.keep is {keep!r}; expected 'breaching' or 'safe'")
