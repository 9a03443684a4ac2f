"""What a run leaves in MLflow, and where that is kept. `log.py` is where to start."""

from sweep.tracking.log import IMAGE_TAGS, SKIPPED, Log, start_run, tag_value
from sweep.tracking.source import source_tags

__all__ = ["IMAGE_TAGS", "SKIPPED", "Log", "source_tags", "start_run", "tag_value"]
