"""Jobs that submitit has submitted, to Slurm or to this machine: waited for, also where one fails.

Hydra's launcher waits for them in turn, and at the first that fails leaves the others alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

MAP = "map_array"  # the method that submits all jobs of a launch


class JobsFailed(Exception):
    """Jobs have ended without a result; `numbers` are their places among those submitted."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"{len(numbers)} jobs have ended without a result")
        self.numbers = numbers


@contextmanager
def watch() -> Iterator[None]:
    """Raise JobsFailed, once all jobs that are submitted meanwhile have ended, where one fails."""
    try:
        import submitit
    except ImportError:  # no such launcher is there
        yield
        return
    submitted: list[Any] = []
    submit = getattr(submitit.AutoExecutor, MAP)

    def submit_and_note(*args: Any, **kwargs: Any) -> list[Any]:
        submitted.extend(submit(*args, **kwargs))
        return list(submitted)

    setattr(submitit.AutoExecutor, MAP, submit_and_note)
    try:
        yield
    except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as error:
        failed = [number for number, job in enumerate(submitted) if job.exception() is not None]
        raise JobsFailed(failed) from error
    finally:
        setattr(submitit.AutoExecutor, MAP, submit)
