"""A run says whose it is and of which code, but no password."""

import subprocess
from pathlib import Path

import pytest

from sweep.tracking import source
from sweep.tracking.source import source_tags


def repository(folder: Path, remote: str) -> str:
    """Make a repository of one commit with a remote, and return the commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@here"]
    for words in (
        ["init", "-q", "-b", "topic"],
        ["commit", "-q", "--allow-empty", "-m", "Begin"],
        ["remote", "add", "origin", remote],
    ):
        subprocess.check_call([*git, *words])
    return subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("https://me:s3cret@host/runs.git", "https://host/runs.git"),
        ("https://s3cret@host/runs.git", "https://host/runs.git"),
        ("git@host:me/runs.git", "git@host:me/runs.git"),
    ],
)
def test_the_repository_is_told_without_a_password(remote, told, tmp_path, monkeypatch):
    commit = repository(tmp_path, remote)
    monkeypatch.setattr(source, "ROOT", tmp_path)
    monkeypatch.setattr("getpass.getuser", lambda: "somebody")
    tags = source_tags()
    assert tags["mlflow.source.git.repoURL"] == told
    assert tags["mlflow.source.git.branch"] == "topic"
    assert tags["mlflow.source.git.commit"] == tags["git_commit"] == commit
    assert tags["git_dirty"] is False
    assert tags["mlflow.user"] == "somebody"
    assert "s3cret" not in str(tags)


def test_where_there_is_no_repository_the_process_is_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROOT", tmp_path)
    tags = source_tags()
    assert "git_commit" not in tags
    assert {"host", "pid", "pid_started", "keras", "mlflow.user"} <= set(tags)
