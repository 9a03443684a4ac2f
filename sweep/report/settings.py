"""What cells were given: which settings tell them apart, what they and their network are called.

Keys are those of a run's params: `prune.order`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from sweep.results.cells import describe
from sweep.results.sources import Entry

SEEDS = ("seed", "badnet.seed")
STRATEGY = ("strategy", "prune.order", "prune.stop", "prune.layer", "repair")
NETWORK = ("case", "data", "attack", "badnet")
NONE = {"strategy": "none", "case": "none", "repair": "[]", "probe": "[]", "attack": "none"}
#: Of the defender's own, though they begin as settings of the network do.
DEFENDERS = tuple(f"data.valid_{name}" for name in ("images", "at_most", "per_class", "changed"))
PATH = re.compile(r"~|\.{0,2}/|[A-Za-z]:[\\/]")  # how the name of a file or folder begins
#: How the command is run, not what is measured.
MACHINE = re.compile(r"(tracking|cache|hydra|experiment)\b|rerun|fail_fast|dry_run|.*\.folder")


def shown(value: str) -> str:
    """A setting as it is shown: of a file its name, nothing of where it lies.

    >>> shown("/home/me/bd_net.h5"), shown("0.1")
    ('bd_net.h5', '0.1')
    """
    return PurePath(value).name if PATH.match(value) else without_places(value)


def without_places(text: str) -> str:
    """A sentence without the folders that files lie in.

    >>> without_places("/home/me/outputs/valid.h5 is damaged, see http://host/a/b")
    '…/valid.h5 is damaged, see http://host/a/b'
    """
    return re.sub(r"(?<![\w.:/])~?(?:/[\w.+@-]+)+/([\w.+@-]+)", r"…/\1", text)


def filled(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The settings of each cell; one that left no run has what all others of its sweep have."""
    by_sweep: dict[str, list[Mapping[str, str]]] = {}
    for entry in entries:
        if entry.run is not None:
            by_sweep.setdefault(_sweep_id(entry), []).append(entry.settings)
    common = {
        sweep: {
            key: value
            for key, value in known[0].items()
            if all(other.get(key) == value for other in known)
        }
        for sweep, known in by_sweep.items()
    }
    return [{**common.get(_sweep_id(entry), {}), **entry.settings} for entry in entries]


def _sweep_id(entry: Entry) -> str:
    return "" if entry.sweep is None else entry.sweep.info.run_id


def _is_given(key: str, settings: Sequence[Mapping[str, str]]) -> bool:
    """Whether one of the `settings` has something else under `key` than what means nothing."""
    none = NONE.get(key, "")
    return any(values.get(key, none) != none for values in settings)


def shown_keys(entries: Sequence[Entry], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The settings that tell what a cell is: what was given, and the parts of a strategy."""
    given = [key.replace("/", ".") for entry in entries for key in entry.given]
    parts = [key for key in (*STRATEGY, *NETWORK) if _is_given(key, settings)]
    if not given:  # of runs by themselves all params are known, and which were given is not
        params = dict.fromkeys(key for values in settings for key in values)
        first = settings[0]
        given = [
            key
            for key in params
            if not key.endswith("_target_")
            and any(values.get(key) != first.get(key) for values in settings)
        ]
        given = _once(given, settings)
    return [key for key in dict.fromkeys([*parts, *given]) if not MACHINE.match(key)]


def _once(keys: Sequence[str], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys without those that only repeat another one: prune.stop.frac is prune.frac."""
    kept: dict[tuple[str, ...], str] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        kept.setdefault(tuple(values.get(key, "") for values in settings), key)
    return [key for key in keys if key in kept.values()]


def is_of_network(key: str) -> bool:
    """Whether a setting makes another network B, or other images to judge it by."""
    first = key.partition(".")[0]
    return first in NETWORK and key not in (*DEFENDERS, *SEEDS)


def panel_names(
    entries: Sequence[Entry], settings: Sequence[Mapping[str, str]], varying: Sequence[str]
) -> list[str]:
    """Of each cell the name of its network and, of several sweeps, of its sweep."""
    names = [
        values.get("data", "") if values.get("case", "none") == "none" else values["case"]
        for values in settings
    ]
    telling = telling_keys(settings, varying, names)
    sweeps = list(dict.fromkeys(_sweep_id(entry) for entry in entries))
    whole = len(sweeps) > 1 and all(entry.whole for entry in entries)
    full = []
    for name, entry, values in zip(names, entries, settings, strict=True):
        labels = [shown(values.get(key, "")) for key in telling]
        parts = [name, describe(telling, labels) if telling else values.get("attack", "")]
        if whole:
            parts.append(f"sweep {sweeps.index(_sweep_id(entry)) + 1}")
        full.append(", ".join(part for part in parts if part and part != "none"))
    return full


def telling_keys(
    settings: Sequence[Mapping[str, str]], keys: Sequence[str], names: Sequence[str]
) -> list[str]:
    """The keys that tell cells apart which their names and the keys before do not."""
    telling: list[str] = []
    known = list(names)
    for key in keys:
        more = [
            f"{name}\0{values.get(key, '')}" for name, values in zip(known, settings, strict=True)
        ]
        if len(set(more)) > len(set(known)):
            telling.append(key)
            known = more
    return telling


def label_of(values: Mapping[str, str], telling: Sequence[str], mark: str) -> str:
    """A strategy by its name or its order, and by what else tells it from others: "tac† u=3".

    >>> label_of({"prune.order": "tac", "prune.u": "3"}, ["prune.u"], "†")
    'tac† u=3'
    >>> label_of({"strategy": "answer", "prune.order": "tac"}, ["strategy"], "")
    'strategy=answer'
    >>> label_of({"strategy": "none", "prune.order": "clp"}, ["strategy"], "")
    'clp'
    """
    rest = [key for key in telling if key != "prune.order" and values[key]]
    if values.get("strategy") == NONE["strategy"]:  # as of most trials of a search
        rest = [key for key in rest if key != "strategy"]
    words = describe(rest, [values[key] for key in rest])
    if "strategy" in rest:
        return words + mark
    return f"{values.get('prune.order', '')}{mark} {words}".strip()
