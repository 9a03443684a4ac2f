"""Sweep pruning strategies against backdoored neural networks.

The parts stand one noun a file; `run.py` in the repository's root tells their story.
"""

import os

# These are read when the libraries are first imported; what the user has set stays.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")  # after 0, 2, 4 and 8 seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class BadInput(ValueError):
    """What the user gave cannot be used: says what came, what was expected, how to mend it."""


class NotApplicable(BadInput):
    """The strategy does not apply to this network; a sweep skips the cell and goes on."""
