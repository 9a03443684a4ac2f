"""The commands `python -m sweep.classify` and `python -m sweep.export`.

python -m sweep.classify MODEL photos/            a table and a contact sheet, here
python -m sweep.classify MODEL test.h5 --threshold 0.9
python -m sweep.export MODEL onnx/                goodnet.onnx and repaired.onnx, there

MODEL is a run's id, runs:/ID/goodnet, models:/NAME@ALIAS, a model's folder, or goodnet.keras.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sweep import BadInput, terminal

MODEL = (
    "a run's id, runs:/ID/goodnet, models:/NAME@ALIAS or models:/NAME/VERSION, the folder of such "
    "a model, or goodnet.keras, best with goodnet.json beside it"
)


def classify(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0; 1 where some images cannot be classified; 2 for bad input, told in one sentence.
    """
    options = _classify_parser().parse_args(arguments)

    def run() -> int:
        if not options.images.exists():  # it takes seconds to load a model
            raise BadInput(
                f"there is no {options.images}; expected an HDF5 file, a folder of PNG and JPEG "
                f"pictures, or one picture"
            )
        with terminal.quiet():
            from sweep.deployment import classification, models

            goodnet = models.find(options.model, options.uri, options.custom_objects)
        return classification.run(goodnet, options)

    return terminal.exit_code(run)


def export(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    options = _export_parser().parse_args(arguments)

    def run() -> int:
        with terminal.quiet():
            from sweep.deployment import models, onnx_files

            onnx_files.require_packages()
            goodnet = models.find(options.model, options.uri, options.custom_objects)
        return onnx_files.run(goodnet, options.folder)

    return terminal.exit_code(run)


def _classify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.classify",
        description="Let GoodNet classify images: a table (CSV) of every image, and a contact "
        "sheet (PNG) of those that it flags. Exit code 1 where some images cannot be classified.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "images",
        metavar="IMAGES",
        type=Path,
        help="an HDF5 file with `data`, a folder of PNG and JPEG pictures, or one picture",
    )
    parser.add_argument(
        "--output",
        metavar="FILE.csv",
        type=Path,
        help="the table; the contact sheet is FILE.png (default: IMAGES-goodnet.csv, here)",
    )
    parser.add_argument(
        "--threshold", type=float, help="flag what has a score above it (default: the model's rule)"
    )
    parser.add_argument(
        "--scale", type=float, help="divide pixels by it (default: as the model's images were)"
    )
    parser.add_argument(
        "--channels",
        choices=("first", "last"),
        help="which axis of an HDF5 file is the colour (default: as the model takes them)",
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring images of another size to the model's"
    )
    _add_shared(parser)
    return parser


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.export",
        description="Write goodnet.onnx (class and score of images) and repaired.onnx (the "
        "probabilities that B' gives), after a comparison with Keras. Needs the extra `onnx`.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        default=Path(),
        help="where they go (default: here)",
    )
    _add_shared(parser)
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    parser.add_argument(
        "--custom-objects",
        metavar="NAME",
        action="append",
        default=[],
        help="my_package.layers.MyLayer or layers.py, where the network has layers of its own; "
        "their code is run. May be given several times",
    )
