"""What a search looks through, and what it tries next: a space of settings, and Optuna's study.

Settings are words of a command line and numbers; nothing here knows a network, or runs one.
"""

from sweep.search.importance import importances
from sweep.search.space import Setting, Space, Values
from sweep.search.study import Found, Study, Suggestion, require_optuna

__all__ = [
    "Found",
    "Setting",
    "Space",
    "Study",
    "Suggestion",
    "Values",
    "importances",
    "require_optuna",
]
