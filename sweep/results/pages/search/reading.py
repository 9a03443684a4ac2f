"""Which runs the page is about: rechecked cells of defenders, by network, and their sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from sweep.evaluation.implant import IMPLANTED
from sweep.results.cells import FINISHED, implant_of, reused_run_ids
from sweep.results.pages.sweeps import PARENT, case_name
from sweep.results.pick import ASR, BOTH
from sweep.results.searches import MOST_LOST, ORACLE_OBJECTIVE, TAG
from sweep.tracking import run_history

LEAST_CELLS = 20  # of a grid, below which nothing is searched in it


@dataclass(frozen=True)
class Network:
    """One network B with its images: what it is called, and the cells there, each once.

    Without those that lose more than `searches.MOST_LOST`: a wrecked B' heeds no trigger either.
    """

    name: str
    cells: Sequence[Run]


@dataclass(frozen=True)
class Sweep:
    """A sweep of rechecked cells on one network: its parent run, and these."""

    name: str
    parent: Run
    cells: Sequence[Run]


@dataclass(frozen=True)
class Read:
    """All that the page tells of: networks, grids, searches, and the sweeps of all these cells."""

    networks: Sequence[Network]
    grids: Sequence[Sweep]
    searches: Sequence[Sweep]
    parents: Sequence[Run] = ()

    @property
    def shown(self) -> list[Run]:
        """Every run that the page tells of."""
        sweeps = [sweep.parent for sweep in (*self.grids, *self.searches)]
        cells = _cells_of([*self.networks, *self.grids, *self.searches])
        return [*self.parents, *sweeps, *cells]


def of_runs(runs: Sequence[Run]) -> Read:
    """What these runs, cells and parents of sweeps, hold for the page."""
    rechecked = [run for run in runs if "job" in run.data.tags and is_rechecked(run)]
    rechecked.sort(key=lambda run: run.info.start_time)
    parents = [run for run in runs if "cells" in run.data.tags]
    parents.sort(key=lambda run: run.info.start_time)
    by_network: dict[tuple[str, str], dict[str, Run]] = {}
    for cell in filter(is_worth_something, rechecked):
        tags = cell.data.tags
        place = (tags.get("network_digest", ""), tags.get("data_digest", ""))
        by_network.setdefault(place, {})[tags.get(run_history.CELL, cell.info.run_id)] = cell
    networks: dict[str, Network] = {}
    for (digest, _), same in by_network.items():
        of_network = list(same.values())
        name = network_name(of_network[0])
        name = f"{name} ({digest[:8]})" if name in networks else name
        networks[name] = Network(name, of_network)
    grids: list[Sweep] = []
    searches: list[Sweep] = []
    for parent in parents:
        sweep = _sweep(parent, rechecked)
        if sweep is None:
            continue
        if TAG in parent.data.tags:
            searches.append(sweep)
        elif len(sweep.cells) >= LEAST_CELLS:
            grids = [grid for grid in grids if grid.name != sweep.name]  # the latest counts
            grids.append(sweep)
    shown = [cell for network in networks.values() for cell in network.cells]
    of_shown = {cell.data.tags.get(PARENT) for cell in [*shown, *_cells_of([*grids, *searches])]}
    made_by = [parent for parent in parents if parent.info.run_id in of_shown]
    return Read(list(networks.values()), grids, searches, made_by)


def _cells_of(those: Sequence[Network | Sweep]) -> list[Run]:
    return [cell for one in those for cell in one.cells]


def is_rechecked(cell: Run) -> bool:
    """Whether proxy and true attack success of a defender's cell are known, on an implant."""
    metrics, tags = cell.data.metrics, cell.data.tags
    known = BOTH.of(metrics) is not None and ASR in metrics and implant_of(cell) == IMPLANTED
    return known and cell.info.status == FINISHED and tags.get("threat_model") != ORACLE_OBJECTIVE


def is_worth_something(cell: Run) -> bool:
    """Whether B' loses no more than what fronts are measured up to; beyond it is no network."""
    metrics = cell.data.metrics
    return metrics["badnet/valid_accuracy"] - metrics["repaired/valid_accuracy"] <= MOST_LOST


def network_name(cell: Run) -> str:
    """What the network of a cell is called: its case, attack and seed, or its file."""
    params = cell.data.params
    people = params.get("data.identities")
    words = [f"faces of {people} people" if people else case_name(cell)]
    if params.get("badnet") == "trained":
        words += [params.get("attack", ""), f"seed {params.get('badnet.seed', '0')}"]
        words += [params["badnet.architecture"]] if "badnet.architecture" in params else []
    return " ".join(filter(None, words))


def _sweep(parent: Run, cells: Sequence[Run]) -> Sweep | None:
    """The sweep of these cells that `parent` is of, where it has ended well on one network."""
    if parent.info.status != FINISHED or parent.data.tags.get("threat_model") == ORACLE_OBJECTIVE:
        return None
    run_id, reused = parent.info.run_id, set(reused_run_ids(parent))
    own = [run for run in cells if run.data.tags.get(PARENT) == run_id or run.info.run_id in reused]
    if len({run.data.tags.get("network_digest") for run in own}) != 1:
        return None
    return Sweep(network_name(own[0]), parent, own)
