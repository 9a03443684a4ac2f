"""What GoodNet says of many images: a row each in a table, and a contact sheet of the flagged."""

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput, files, terminal
from sweep.deployment import images
from sweep.deployment.contact_sheet import ContactSheet
from sweep.deployment.images import Source
from sweep.deployment.models import Deployed
from sweep.deployment.reading import Batch, Hdf5File
from sweep.detectors.rules import Rule
from sweep.networks import forward
from sweep.networks.graph import Graph
from sweep.tracking import goodnet_pyfunc

HEAD = ["file", "number", "class", "flagged", "score", "badnet_class", "badnet_probability"]
HEAD += ["repaired_class", "repaired_probability", "label", "true_label", "error"]
NO_UTF8 = "backslashreplace"  # what stands for bytes of a file's name that are no text
TOLD = 10  # images of which it is said why they cannot be classified
Said = dict[str, NDArray]


@dataclass
class Counts:
    """How many images were classified, flagged, and could not be classified."""

    classified: int = 0
    flagged: int = 0
    unusable: int = 0


def run(goodnet: Deployed, options: argparse.Namespace) -> int:
    """Classify `options.images`; return the exit code: 1 where some could not be classified.

    `options` are those of the command. Raises BadInput where none can be, or nothing be written.
    """
    table, sheet = _outputs(options)
    given = {name: getattr(options, name) for name in ("scale", "channels", "resize")}
    source = images.open_images(options.images, goodnet, **given)
    rule = _rule(goodnet, options.threshold)
    if goodnet.unknown:
        terminal.print_line(goodnet.unknown)
    drawn = ContactSheet(goodnet.low, goodnet.high)
    try:
        with files.atomic_write(sheet) as page, files.atomic_write(table) as unfinished:
            with unfinished.open(
                "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as to:
                counts, reasons = _classify(goodnet, rule, source, options.images, to, drawn)
            if not counts.classified:
                raise BadInput(f"none of the {len(source)} images can be classified: {reasons[0]}")
            verb = "is" if counts.flagged == 1 else "are"
            share = f"{counts.flagged} of {counts.classified} images {verb} flagged"
            most = f", the {len(drawn)} of highest score" if counts.flagged > len(drawn) else ""
            drawn.save(page, f"{_printable(options.images.resolve().name)}: {share}{most}")
    except OSError as error:
        raise BadInput(f"{table} cannot be written ({error.strerror or error})") from error
    percent = terminal.percent(counts.flagged / counts.classified).strip()
    terminal.print_line(f"{share} ({percent} %). {_expected(rule, options.threshold)}")
    terminal.print_line(f"written: {table} and {sheet}", wrap=False)
    for reason in reasons[:TOLD]:
        terminal.print_error(reason)
    if counts.unusable:
        more = f", {counts.unusable - TOLD} of them not told here" if counts.unusable > TOLD else ""
        terminal.print_error(
            f"{counts.unusable} of {len(source)} images cannot be classified{more}; the table's "
            f"column error has the reasons"
        )
    return int(counts.unusable > 0)


def _outputs(options: argparse.Namespace) -> tuple[Path, Path]:
    """Where the table and the contact sheet go; BadInput where they would be in the way."""
    table: Path | None = options.output
    if table is None:
        whole = options.images.resolve()
        table = Path(f"{whole.name if whole.is_dir() else whole.stem}-goodnet.csv")
    elif table.suffix.lower() != ".csv" or table.is_dir():
        raise BadInput(f"--output is {table}; expected a file .csv, the picture goes beside it")
    sheet = table.with_suffix(".png")
    if options.images.resolve() in (sheet.resolve(), sheet.resolve().parent):
        raise BadInput(
            f"the contact sheet {sheet} would lie among the pictures; give --output, a file .csv "
            f"somewhere else"
        )
    return table, sheet


def _rule(goodnet: Deployed, threshold: float | None) -> Rule | None:
    """When an image is flagged; None: as the network itself answers."""
    if threshold is None:
        return goodnet.rule
    if not -1 <= threshold <= 1:  # nor is NaN
        raise BadInput(f"--threshold is {threshold}; expected a score, -1 to 1")
    return replace(goodnet.rule or Rule(), threshold=threshold, images=0, flagged=0)


def _classify(
    goodnet: Deployed,
    rule: Rule | None,
    source: Source,
    path: Path,
    file: TextIO,
    sheet: ContactSheet,
) -> tuple[Counts, list[str]]:
    """Write a row for each image; return how many were what, and why the first were nothing."""
    counts, reasons = Counts(), list[str]()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    answers = answering(goodnet, rule)
    networks = (goodnet.badnet, goodnet.repaired)
    size = min(forward.batch_size(Graph(network).tensors) for network in networks)
    with terminal.progress("classifying", len(source), "images") as advance:
        for place, read in enumerate(source.batches(size)):
            batch = images.usable(read, goodnet)
            if place == 0:
                images.require_scale(read, batch, goodnet, path)
            batch, said = _answered(batch, answers)
            counts.classified += len(batch.numbers)
            counts.unusable += len(batch.unusable)
            for number in sorted(batch.unusable)[: TOLD - len(reasons)]:
                reasons.append(f"{_called(source, number)} {batch.unusable[number]}")
            flagged = said["class"] == goodnet.classes
            counts.flagged += int(flagged.sum())
            for row in np.flatnonzero(flagged):
                _add_to(sheet, source, batch, said, int(row))
            writer.writerows(_rows(source, batch, said, flagged))
            advance(len(batch))
    return counts, reasons


def answering(goodnet: Deployed, rule: Rule | None) -> Callable[[NDArray], Said]:
    """Return a function from images to what is said of each, arrays (n,) by the table's names.

    `rule` None: class and score are what the network itself answers.
    """
    both = goodnet_pyfunc.compiled(goodnet.network, goodnet.shape)
    itself = tf.function(
        lambda pixels: goodnet.network(pixels, training=False),
        input_signature=[tf.TensorSpec((None, *goodnet.shape), tf.float32)],
        autograph=False,
    )

    def answer(pixels: NDArray) -> Said:
        said: dict[str, Any] = {name: one.numpy() for name, one in both(pixels).items()}
        if rule is None:
            own = itself(pixels)
            return said | {name: own[name].numpy() for name in ("class", "score")}
        badnet, repaired = said["badnet_class"], said["repaired_class"]
        return said | {"class": rule.classify(badnet, repaired, said["score"], goodnet.classes)}

    return answer


def _answered(batch: Batch, answers: Callable[[NDArray], Said]) -> tuple[Batch, Said]:
    """What is said of a batch, and what is left of it: those of which nothing can be said go."""
    try:
        said = answers(batch.pixels)
    except (tf.errors.OpError, ValueError):  # of images smaller than the networks' windows
        reason = f"is {' x '.join(map(str, batch.pixels.shape[1:3]))} pixels, too few for the model"
        none = Batch(batch.pixels[:0], [], batch.unusable | dict.fromkeys(batch.numbers, reason))
        return none, {"class": np.empty(0)}
    good = np.isfinite(said["score"])
    unusable = {
        number: "is given probabilities that are NaN"
        for number, fine in zip(batch.numbers, good, strict=True)
        if not fine
    }
    numbers = [number for number, fine in zip(batch.numbers, good, strict=True) if fine]
    kept = Batch(batch.pixels[good], numbers, batch.unusable | unusable)
    return kept, {name: values[good] for name, values in said.items()}


def _rows(source: Source, batch: Batch, said: Said, flagged: NDArray) -> Iterator[list[object]]:
    """The rows of a batch, by number."""
    rows: dict[int, list[object]] = {}
    for place, number in enumerate(batch.numbers):
        row: list[object] = [said["class"][place], str(bool(flagged[place])).lower()]
        row.append(f"{said['score'][place]:.6f}")
        for network in ("badnet", "repaired"):
            row.append(said[f"{network}_class"][place])
            row.append(f"{said[f'{network}_probability'][place]:.6f}")
        rows[number] = [*row, *_labels(source, number), ""]
    for number, reason in batch.unusable.items():
        rows[number] = [""] * 7 + [*_labels(source, number), reason]
    for number in sorted(rows):
        yield [source.file(number), number, *rows[number]]


def _labels(source: Source, number: int) -> list[object]:
    known = (source.labels, source.true_labels)
    return ["" if labels is None else labels[number] for labels in known]


def _add_to(sheet: ContactSheet, source: Source, batch: Batch, said: Said, row: int) -> None:
    score, number = float(said["score"][row]), batch.numbers[row]
    if not sheet.wants(score):
        return
    told = {name: values[row] for name, values in said.items()}
    name = "" if isinstance(source, Hdf5File) else Path(source.file(number)).name
    caption = [
        f"{number} {_printable(name)}".strip(),
        f"B: {told['badnet_class']} ({100 * told['badnet_probability']:.1f} %)",
        f"B': {told['repaired_class']} ({100 * told['repaired_probability']:.1f} %)",
        f"score {score:.3f}",
    ]
    sheet.add(number, score, batch.pixels[row], caption)


def _called(source: Source, number: int) -> str:
    """An image, as a sentence calls it."""
    file = _printable(source.file(number))
    return f"{file}: image {number}" if isinstance(source, Hdf5File) else file


def _printable(name: str) -> str:
    """A file's name without what would move a terminal's cursor.

    >>> _printable("a\\x1b[2J.png")
    'a\\\\x1b[2J.png'
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def _expected(rule: Rule | None, threshold: float | None) -> str:
    """A sentence on how many clean images are flagged."""
    if threshold is not None:
        return "How many clean images this threshold flags is not known."
    tolerance = rule.tolerance if rule is not None and rule.images else None
    if rule is None or tolerance is None:
        why = "" if rule is None or rule.threshold is not None else ": its rule is the vote"
        return f"How many clean images GoodNet flags is not known{why}."
    low, high = (100 * end for end in tolerance)
    return (
        f"Of clean images it would be {low:.2f} to {high:.2f} % (at 95 %, by the {rule.images} "
        f"that set its threshold)."
    )
