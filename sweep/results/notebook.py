"""A sweep in a notebook: its cells and their curves as pandas tables, its figures to draw on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sweep import BadInput
from sweep.evaluation.curve import CLEAN_RATES, POISONED_RATES
from sweep.results.cells import Cell
from sweep.results.comparison import comparison_figure
from sweep.results.figures.run import draw_curve, draw_flagged
from sweep.results.sources import Entry, find
from sweep.tracking import artifacts

CURVE, FLAGGED = "curve.csv", "flagged.csv"


def load(*targets: str, uri: str | None = None) -> "Results":
    """The cells of sweeps, of experiments or of single runs; none named: of the latest sweep.

    `targets` are names of experiments and ids of runs, `uri` is where MLflow keeps them (default:
    as run.py). Raises BadInput where one of them is not there, is empty or is of another program.
    """
    return Results(find(targets, uri))


@dataclass(frozen=True)
class Results:
    """What cells left: `cells`, one row each, and by a row's number its `curve` and figures."""

    entries: Sequence[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def cells(self) -> pd.DataFrame:
        """A row a cell: its run's id, status and threat model, settings, rates and intervals.

        Settings go by their names on the command line, rates by those of the run's metrics; the
        ends of an interval are `RATE_low` and `RATE_high`. What is not known is NaN.
        """
        return pd.DataFrame([_row(entry) for entry in self.entries])

    def curve(self, number: int) -> pd.DataFrame:
        """The pruning curve of a cell: a row a step, by the number of channels pruned.

        Of each step the last channel pruned, its layer, and every rate. Raises BadInput where the
        cell has none.
        """
        return pd.read_csv(BytesIO(self._artifact(number, CURVE))).set_index("pruned")

    def draw_curve(self, number: int) -> Figure:
        """The figure of a cell's pruning curve, with 95 % intervals and the stop."""
        curve, cell = self.curve(number), self._entry(number).cell
        rates = {name: curve[name].to_numpy() for name in _images_of_rates(cell) if name in curve}
        step = int(cell.metrics.get("prune/channels", 0))
        steps = curve.index.to_numpy()
        return draw_curve(steps, rates, _images_of_rates(cell), step, cell.ranked_by)

    def flagged(self, number: int) -> pd.DataFrame:
        """The images that GoodNet flags in a cell, the surest first: a row each.

        With their file, their number in it, labels, and what B and B' say. Raises BadInput where
        the cell has none.
        """
        return pd.read_csv(BytesIO(self._artifact(number, FLAGGED)))

    def draw_flagged(self, number: int, count: int = 8) -> Figure:
        """The figure of the first flagged images: poisoned ones, and clean ones flagged in error.

        `count` of each at most, of the test images. Raises BadInput where their files are not
        there.
        """
        from sweep.data import hdf5  # brings Keras, which nothing else here needs

        table, pictures, titles = self.flagged(number), {}, {}
        channels = self._entry(number).settings.get("data.channels", "auto")
        for kind, name in (("poisoned", "poisoned"), ("test", "clean, in error")):
            rows = table[table["images"] == kind].head(count)
            pictures[name] = np.zeros((0, 1, 1, 1), np.float32)
            if len(rows):
                pixels = hdf5.pixels(Path(rows["file"].iloc[0]), channels=channels)
                pictures[name] = pixels.take(rows["number"].to_numpy())[:]
            titles[name] = [f"B {row.badnet}, B' {row.repaired}" for row in rows.itertuples()]
        return draw_flagged(pictures, titles)

    def draw_comparison(self) -> Figure:
        """The figure of the rates of all cells."""
        return comparison_figure([entry.cell for entry in self.entries])

    def _artifact(self, number: int, name: str) -> bytes:
        """A file that a cell logged; BadInput where it did not."""
        cell = self._entry(number).cell
        (content,) = artifacts.read_all([cell.artifacts], name)
        if not content:
            raise BadInput(f"cell {number} has no {name}: {cell.error or 'it has not come so far'}")
        return content

    def _entry(self, number: int) -> Entry:
        if not 0 <= number < len(self):
            raise BadInput(f"there is no cell {number}; expected 0 to {len(self) - 1}")
        return self.entries[number]


def _row(entry: Entry) -> dict[str, object]:
    cell = entry.cell
    row: dict[str, object] = {
        "run_id": cell.run_id,
        "status": cell.status,
        "threat_model": cell.threat_model,
        "order": cell.order,
        "layer": entry.settings.get("prune.layer", ""),
    }
    row |= {key: _value(text) for key, text in entry.given.items()}
    for name, value in sorted(cell.metrics.items()):
        if not name.startswith("curve/"):
            row[name] = value
            ends = cell.interval(name)
            if ends is not None:
                row[f"{name}_low"], row[f"{name}_high"] = ends
    return row


def _value(text: str) -> str | float:
    """A setting as the number that it is, or else as it stands."""
    try:
        return float(text)
    except ValueError:
        return text


def _images_of_rates(cell: Cell) -> Mapping[str, int]:
    """How many images each rate of a curve is a share of, where the cell's run tells."""
    images = cell.images
    names = {"valid_accuracy": "valid"}
    names |= dict.fromkeys(CLEAN_RATES.values(), "test")
    names |= dict.fromkeys(POISONED_RATES.values(), "poisoned")
    return {name: images[kind] for name, kind in names.items() if kind in images}
