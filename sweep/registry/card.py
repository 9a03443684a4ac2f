"""The card of a GoodNet: what it is, what it was measured to do, and what it cannot do.

Markdown, made of a run's own data alone. It goes on where the run was made: passwords and the
folders of that machine are left out.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from mlflow.entities import Dataset, Run

from sweep.redaction import redacted
from sweep.registry import names
from sweep.results.cells import cell_of, interval_of
from sweep.results.descriptions import NETWORKS, plain, table
from sweep.results.pick import RESIDUAL
from sweep.results.sources import shell
from sweep.terminal import percent
from sweep.tracking.store import DESCRIPTION

LONGEST = 5000  # characters of a description that the registry's table has room for
SHORT = 12  # characters of a digest that are shown
RATES = (
    ("valid_accuracy", "clean validation accuracy"),
    ("clean_accuracy", "clean test accuracy"),
    ("attack_success_rate", "attack success"),
    ("robust_accuracy", "poisoned, right class"),
)
FLAGS = (("detection_rate", "poisoned images"), ("false_alarm_rate", "clean test images"))
#: Keys of a command that say where something lies or how a run is gone about.
NOT_SHOWN = ("tracking.", "cache.", "hydra.", "register", "rerun", "fail_fast", "dry_run")
COMMAND = "    python run.py"
CHOICES = ("data", "attack", "prune/order", "prune/stop", "prune.frac", "repair", "seed")


def card(name: str, run: Run, about: Mapping[str, Any]) -> str:
    """Return the card of a finished run that is registered as `name`.

    `about` is the goodnet.json of the run's model: shape and range of pixels, classes, rule.
    """
    sections = {
        "Network": _network(run, about),
        "Images": _images(run),
        "Strategy": _strategy(run),
        "Rates": _rates(run),
        "Threshold": _threshold(run, about),
        "What it cannot do": _limits(run, about),
        "Use it": _use(name, run),
    }
    text = f"# {name}\n\n{_what(name, run)}\n"
    text += "".join(f"\n## {head}\n\n{body}\n" for head, body in sections.items())
    return redacted(text)


def description(text: str, run_id: str) -> str:
    """Return a card as the description of a version, whole or cut between paragraphs.

    >>> len(description("a word\\n\\n" * 2000, "12ab")) <= LONGEST
    True
    """
    if len(text) <= LONGEST:
        return text
    rest = f"\n\nThe whole card is README.md of the run {run_id}.\n"
    return text[: LONGEST - len(rest)].rpartition("\n\n")[0] + rest


def _what(name: str, run: Run) -> str:
    text = (
        "GoodNet: a suspect image classifier B and B', which is B after pruning and repairs, side "
        'by side. It answers the class of an image, or "backdoored" where it takes the image for '
        f"poisoned. B' alone is registered as `{names.of_repaired(name)}`. Made by prunesweep in "
        f"the run `{run.info.run_id}`."
    )
    if _oracle(run):
        text += (
            "\n\n**This is no defence.** It was pruned by an oracle, which looks at poisoned "
            "images that no defender has; it bounds what pruning may reach."
        )
    return text


def _network(run: Run, about: Mapping[str, Any]) -> str:
    params, tags = run.data.params, run.data.tags
    made = "from a file"
    if params.get("badnet") == "trained":
        made = f"trained by prunesweep with the backdoor {_code(params.get('attack', '?'))}"
    shape = " x ".join("any" if size is None else str(size) for size in about["shape"])
    pixels = "in a range that is not known"
    if about["low"] is not None:
        pixels = f"of {about['low']:g} to {about['high']:g}"
    scale = about["scale"]
    divided = "" if scale == 1 else f", which are pixels of the files divided by {scale:g}"
    return _list(
        f"B: {made}; digest {_code(tags.get('network_digest', '?')[:SHORT])}",
        f"pruned at {_code(tags.get('layer', '?'))}",
        f"images: {shape} (height, width, channels), float32, pixels {pixels}{divided}",
        f'classes: 0 to {about["classes"] - 1}, and {about["classes"]} for "backdoored"',
    )


def _images(run: Run) -> str:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    rows = [_dataset(given.dataset) for given in inputs]
    if not rows:
        counts = cell_of(0, {}, run).images
        rows = [[kind, str(count), "not known"] for kind, count in counts.items()]
    digest = _code(run.data.tags.get("data_digest", "?")[:SHORT])
    return f"{table(['images', 'how many', 'digest'], rows)}\n\nAll files together: {digest}."


def _dataset(dataset: Dataset) -> list[str]:
    shape = json.loads(dataset.profile or "{}").get("features_shape") or ["?"]
    return [plain(_line(dataset.name)), str(shape[0]), _code(dataset.digest[:SHORT])]


def _strategy(run: Run) -> str:
    params, metrics = run.data.params, run.data.metrics
    order, stop = params.get("prune.order", "?"), params.get("prune.stop", "?")
    channels = ""
    if "prune/channels" in metrics:
        share = f" ({percent(metrics['prune/fraction'])} %)" if "prune/fraction" in metrics else ""
        channels = f", which pruned {metrics['prune/channels']:g} channels{share}"
    repairs = params.get("repair", "[]")
    after = "no repair" if repairs == "[]" else f"the repairs {_code(repairs)}"
    ranked = " (an oracle)" if _oracle(run) else ""
    words = (
        f"Channels ranked by {_code(order)}{ranked}, pruned until the stop {_code(stop)}"
        f"{channels}; then {after}."
    )
    return f"{words}\n\n```sh\n{_command(run)}\n```"


def _command(run: Run) -> str:
    """Return the command that makes the run again, as its description has it, without places.

    Where its description has none, as somebody wrote another, its choices stand there.
    """
    given: dict[str, str] = {}
    for line in run.data.tags.get(DESCRIPTION, "").splitlines():
        if line.startswith(COMMAND):
            with suppress(ValueError):  # a quote is open
                given = dict(word.partition("=")[::2] for word in shlex.split(line)[2:])
    if not given:
        params = run.data.params
        named = {key: params.get(key.replace("/", "."), "") for key in CHOICES}
        given = {key: value for key, value in named.items() if value}
    shown = {key: _line(value) for key, value in given.items() if not _hidden(key)}
    return shell("python run.py", shown)


def _hidden(key: str) -> bool:
    return key.lstrip("+~").startswith(NOT_SHOWN)


def _rates(run: Run) -> str:
    rows = []
    for rate, head in RATES:
        shown = [_shown(run, f"{network}/{rate}") for network in NETWORKS]
        if any(cell != "-" for cell in shown):
            rows.append([head, *shown])
    paragraphs = [table(["in %", *NETWORKS.values()], rows)] if rows else []
    flags = [
        f"{_shown(run, f'goodnet/{rate}')} % of the {images}"
        for rate, images in FLAGS
        if f"goodnet/{rate}" in run.data.metrics
    ]
    if flags:
        paragraphs.append(f"GoodNet flags {' and '.join(flags)}; these are not counted as right.")
    paragraphs.append("In brackets are 95 % intervals (Wilson).")
    if RESIDUAL in run.data.metrics:
        share = percent(run.data.metrics[RESIDUAL])
        paragraphs.append(
            f"Triggers reversed anew in B' still turn {share} % of the clean validation images of "
            f"other classes into the class for which they do most."
        )
    return "\n\n".join(paragraphs)


def _shown(run: Run, metric: str) -> str:
    """A rate in % with its 95 % interval, "-" where it was not measured."""
    metrics = run.data.metrics
    ends = interval_of(metric, metrics, cell_of(0, {}, run).images)
    extent = f" ({percent(ends[0])}-{percent(ends[1])})" if ends else ""
    return f"{percent(metrics.get(metric))}{extent}"


def _threshold(run: Run, about: Mapping[str, Any]) -> str:
    other = "that of B'" if about["answer"] == "repaired" else "that of B"
    if about["threshold"] is None:
        return (
            "An image is flagged where B and B' disagree; there is no threshold. Clean images on "
            "which they disagree are flagged as well: see the rate of clean test images above."
        )
    low, high = (percent(end) for end in about["tolerance"])
    return (
        f"An image is flagged where its score, the probability of the class that B says under B "
        f"less that under B', is above {about['threshold']:.6g}. The class of all others is "
        f"{other}. The threshold was set by {about['images']} clean validation images that no "
        f"repair has learned: {about['flagged']} of them are above it, and at most "
        f"{percent(about['false_alarm'])} % were to be. Of further clean images of the same kind "
        f"between {low} and {high} % are flagged (95 %)."
    )


def _limits(run: Run, about: Mapping[str, Any]) -> str:
    return _list(*_limits_of(run, about))


def _limits_of(run: Run, about: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each thing that it cannot do."""
    metrics = run.data.metrics
    if _oracle(run):
        yield "It is no defence: nobody who defends has the poisoned images that it was made with."
    yield "It proves nothing: B and B' may carry a backdoor that nobody has looked for."
    if RESIDUAL in metrics:
        yield (
            "Reversed triggers stand in for the attack and are no more than that: a trigger that "
            "they do not come near would not be seen."
        )
    else:
        yield "Triggers were not reversed anew in B', so clean images say nothing of a backdoor."
    if "repaired/attack_success_rate" in metrics:
        by = _code(run.data.tags.get("poisoned_by", "?"))
        yield f"Rates of poisoned images are those of one attack (by {by}); others may do more."
    else:
        yield "There were no poisoned test images: what is left of an attack was not measured."
    yield (
        "All rates, and what the threshold flags, hold for images of the same kind as the clean "
        "validation and test images; of another camera, light or size more may be flagged."
    )
    if about["threshold"] is not None and about["images"] < 300:
        yield f"Its threshold rests on {about['images']} images alone."
    yield "A flagged image need not be poisoned, and one that is not flagged need not be clean."


def _use(name: str, run: Run) -> str:
    best = names.address(name)
    return (
        "With `MLFLOW_TRACKING_URI` set to where these runs are kept:\n\n"
        f"```sh\nmlflow models serve --env-manager local -m {best} -p 5001\n```\n\n"
        "```python\nimport mlflow\n\n"
        f'goodnet = mlflow.pyfunc.load_model("{best}")\n'
        "goodnet.predict(images)  # a row an image: class, flagged, score, what B and B' say\n"
        f'repaired = mlflow.keras.load_model("{names.address(names.of_repaired(name))}")\n```\n\n'
        f"`runs:/{run.info.run_id}/goodnet` is the one that this card is about, whichever is best "
        "by now."
    )


def _oracle(run: Run) -> bool:
    return cell_of(0, {}, run).oracle


def _code(text: str) -> str:
    """Text as code in one line."""
    return f"`{_line(text).replace('`', '')}`"


def _line(text: str) -> str:
    return " ".join(text.split())


def _list(*points: str) -> str:
    return "\n".join(f"- {point}" for point in points)
