"""What pages of results are made of: their frame, tables, what runs say in one cell of these."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from statistics import fmean

from mlflow.entities import Run

from sweep.results.cells import ORACLE, image_counts, interval_of
from sweep.results.pages.sweeps import command, param_values
from sweep.terminal import percent

VERSIONS = ("Python", "Keras", "TensorFlow")
DASH = "-"

PAGE = f"""# {{title}}

{{introduction}}

{{body}}

## How to read it

Written from MLflow by `python -m sweep.results docs/results`, never by hand. All in %, but for
points, counts, channels and AUROC. B is the suspect network, B' what a strategy makes of it, G is
GoodNet, which says "backdoored" of the images that it flags: by its score, or by the vote of B and
B' (`goodnet=vote`, and all runs of version 0.1). ASR, attack success rate: the share of the
poisoned test images that get the attack's target. det. and alarm: poisoned and clean test images
that G flags.

Numbers are means over the seeds. A dash: not measured, or not there.

{{legend}}
- **Intervals**: 95 % Wilson intervals, from the lowest lower to the highest upper end over the
  seeds. They say what so many test images can tell of these networks, and nothing of another one.
- {ORACLE} an oracle: ranked with poisoned images, which no defender has; no defence.

### What may not be concluded

- A defender has no poisoned images, and so knows no ASR, no detection and no area. To pick the row
  with the lowest ASR is no defence: it takes what is to be found out.
{{limits}}
- Rows whose intervals overlap are not thereby equal, and of so many rows some are best by chance.
"""


def page(title: str, introduction: str, paragraphs: Sequence[str], legend: str, limits: str) -> str:
    """A whole page: what it is about, its paragraphs, how to read them, what they do not say."""
    body = "\n\n".join(paragraphs)
    return PAGE.format(
        title=title, introduction=wrap(introduction), body=body, legend=legend, limits=limits
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], align: str = "l") -> str:
    """A table in Markdown; columns beyond `align` are numbers, to the right."""
    rules = [{"l": ":---", "r": "---:"}[side] for side in align.ljust(len(heads), "r")]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])


def wrap(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 100 characters; `indent` stands before all but the first."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def listed(start: str, ends: Sequence[str]) -> str:
    """A sentence of `start` and its end; a list of the ends, where there are several.

    >>> print(listed("It is", ["red."]))
    It is red.
    >>> print(listed("It is", ["red.", "round."]))
    It is
    <BLANKLINE>
    - red.
    - round.
    """
    if len(ends) == 1:
        return wrap(f"{start} {ends[0]}")
    return "\n".join([start, "", *(wrap(f"- {end}", indent="  ") for end in ends)])


def commands(sweeps: Iterable[Run]) -> str:
    """The commands of some sweeps, each once, for a shell."""
    return "\n".join(["```sh", *dict.fromkeys(map(command, sweeps)), "```"])


def date(run: Run) -> str:
    """The day on which a run began: "2026-11-22"."""
    return f"{datetime.fromtimestamp(run.info.start_time / 1000, UTC):%Y-%m-%d}"


def commit(run: Run) -> str:
    """The commit that a run is of, in short, and whether that is all."""
    tags = run.data.tags
    short = f"`{tags['git_commit'][:10]}`" if "git_commit" in tags else DASH
    return f"{short}, and changes not committed" if tags.get("git_dirty") == "true" else short


def versions(run: Run) -> str:
    """The versions of `VERSIONS` that a run was made with."""
    return ", ".join(tag_values([run], word.lower()) for word in VERSIONS)


def tag_values(runs: Iterable[Run], name: str) -> str:
    """The values of a tag, each once; digests in short."""
    unique = dict.fromkeys(run.data.tags[name] for run in runs if name in run.data.tags)
    short = 12 if name.endswith("_digest") else None
    return ", ".join(value[:short] for value in unique) or DASH


def skipped(cells: Sequence[Run], param: str) -> list[str]:
    """A paragraph for each reason why cells were skipped: which by `param`, how many, and why."""
    paragraphs = []
    for error in dict.fromkeys(cell.data.tags.get("error", "") for cell in cells):
        same = [cell for cell in cells if cell.data.tags.get("error", "") == error]
        count = "1 cell" if len(same) == 1 else f"{len(same)} cells"
        names = ", ".join(f"`{name}`" for name in param_values(same, param))
        paragraphs.append(wrap(f"Skipped: {names} ({count}): {error.rstrip('.')}."))
    return paragraphs


def metric_values(runs: Iterable[Run], metric: str) -> list[float]:
    """The values of a metric in all runs that have it."""
    return [run.data.metrics[metric] for run in runs if metric in run.data.metrics]


def mean(runs: Iterable[Run], metric: str, show: Callable[[float], str] = percent) -> str:
    """The mean of a metric over the runs that have it."""
    values = metric_values(runs, metric)
    return show(fmean(values)) if values else DASH


def spread(rates: Sequence[float], show: Callable[[float], str] = percent, to: str = "-") -> str:
    """The mean, and lowest to highest where they differ.

    >>> spread([0.5, 0.25]), spread([1.0, 1.0]), spread([])
    ('37.50 (25.00-50.00)', '100.0', '-')
    """
    if not rates:
        return DASH
    extent = extremes(rates, show, to)
    average = show(fmean(rates))
    return average if extent == show(min(rates)) else f"{average} ({extent})"


def extremes(rates: Sequence[float], show: Callable[[float], str] = percent, to: str = "-") -> str:
    """The lowest to the highest, or one number where they do not differ.

    >>> extremes([0.5, 0.25]), extremes([1.0, 1.0]), extremes([])
    ('25.00-50.00', '100.0', '-')
    """
    if not rates:
        return DASH
    low, high = show(min(rates)), show(max(rates))
    return low if low == high else f"{low}{to}{high}"


def interval(runs: Sequence[Run], metric: str, show: Callable[[float], str] = percent) -> str:
    """The mean, and the lowest lower to the highest upper end of its intervals."""
    known = [interval_of(metric, run.data.metrics, image_counts(run)) for run in runs]
    ends = [pair for pair in known if pair is not None]
    if not ends:
        return mean(runs, metric, show)
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    return f"{mean(runs, metric, show)} ({show(lowest)}-{show(highest)})"
