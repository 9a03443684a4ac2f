"""What a run leaves in MLflow, and where that is kept. `log.py` is where to start."""

from sweep.tracking.log import SKIPPED, Log, origin, run, sentence, text

__all__ = ["SKIPPED", "Log", "origin", "run", "sentence", "text"]
