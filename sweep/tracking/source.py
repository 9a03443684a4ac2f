"""Tags that say where a run comes from: whose it is, of which code, in which process."""

import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils import git_utils

from sweep import processes

ROOT = Path(__file__).resolve().parents[2]


def source_tags() -> dict[str, object]:
    """The source of a run, equal in a sweep and its cells: user, repository, process, versions."""
    return {**_of_program(ROOT), "mlflow.source.name": "run.py", **processes.current_process()}


@cache
def _of_program(root: Path) -> dict[str, object]:
    """What is asked once in a process, as Git takes a process of its own for each answer."""
    return {
        **resolve_tags(),  # the user, and what else MLflow knows of where it runs
        **_git_tags(root),
        "python": sys.version.split()[0],
        "keras": version("keras"),
        "tensorflow": version("tensorflow"),
    }


def _git_tags(root: Path) -> dict[str, object]:
    """Commit, branch and remote of the repository at `root`; of a URL no user, nor a password."""
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=-3).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True, stderr=-3)
    except (OSError, subprocess.CalledProcessError):
        return {}
    names = {
        "mlflow.source.git.branch": git_utils.get_git_branch(str(root)),
        "mlflow.source.git.repoURL": git_utils.get_git_repo_url(str(root)),
    }
    return {
        "mlflow.source.git.commit": commit,
        **{tag: name for tag, name in names.items() if name is not None},
        "git_commit": commit,
        "git_dirty": bool(changed),
    }
