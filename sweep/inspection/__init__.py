"""A verdict on a network, without a poisoned image: is there a sign of a backdoor?

What corruptions turn images into tells, beside a network that learned the same images anew. Where
more is asked for, reversed triggers of every class are shown, and what each way of pruning would
cost, by the pruning curves of all orders on clean validation images.
"""

from sweep.inspection.inspecting import inspect
from sweep.inspection.verdict import SIZE_UNITS, Cost, Verdict, in_words

__all__ = ["SIZE_UNITS", "Cost", "Verdict", "in_words", "inspect"]
