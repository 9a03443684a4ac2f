"""Sweep pruning strategies against backdoored neural networks.

Begin with `run.py` in the repository's root: one run from images to MLflow. Importing `sweep` sets
environment variables of MLflow and TensorFlow (below), where the user has not set them.

What is swept, each a conf group:
    badnets     the suspect network: from a file, or trained here
    data        images: own HDF5 files, rendered faces, poisoned counterparts
    attacks     triggers, and the training mixture that they poison (adaptive: who expects pruning)
    orders      which channel is pruned first
    stops       how many channels are pruned
    repairs     what is done to the pruned network then
    inspection  is there a backdoor at all? (inspect=true)
    rechecking  can B' be trusted? (recheck=true)

What it is made of:
    networks    Keras models: loaded, flattened, copied, made smaller
    pruning     the cut at a layer, the incremental evaluation, scores and ranking of channels
    training    the Defender, fine-tuning, inversion of triggers, unlearning
    detectors   who tells poisoned images from clean ones: GoodNet
    evaluation  rates, the pruning curve, significance
    tracking    what is logged in MLflow
    results     what is compared and shown: tables, pages, figures
    cleanup     runs that are left over: listed, ended, deleted
    registry    GoodNet in MLflow's model registry, with a card
    deployment  GoodNet of a finished run in use: images classified, ONNX
    search      what a search tries next
    launching   which cells are to run, who runs them, how far they are
    cli         Hydra's side: configs checked, cells composed, sweeps

Tools: files, cache, processes, interrupts, terminal, redaction. Commands, `python -m sweep.NAME`:
classify, cleanup, export, gtsrb, paired, register, report, results, strategies, view.
"""

import os

# The libraries read these when they are first imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # tracking.patience asks again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class BadInput(ValueError):
    """What the user gave cannot be used: says what came, what was expected, how to mend it."""


class NotApplicable(BadInput):
    """The strategy does not apply to this network; a sweep skips the cell and goes on."""
