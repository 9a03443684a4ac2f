"""What a cell could not log is kept whole, without a password, and logged as its own run."""

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from sweep import tracking
from sweep.launching import unsent
from sweep.tracking import Log, run_history, store


@pytest.fixture
def log(root) -> Log:
    """A run whose process has died before it could send what it had found."""
    with pytest.raises(ZeroDivisionError), tracking.start_run(made(root), "one", {}, {}) as begun:
        raise ZeroDivisionError
    begun.set_params({"seed": 3, "tracking.uri": "http://me:PASSWORD@host"})
    begun.tags({"cell": "abc", "error": "away"})
    begun.curves({"curve/rate": [0.5, 0.25, float("nan")]}, [0, 1, 2])
    begun.text("config.yaml", "seed: 3")
    return begun


def made(root) -> str:
    return store.connect(None, "unsent", root)


def test_it_is_logged_later_and_counts_as_finished(log, root, capsys):
    unsent.keep(log, root)
    (kept,) = (root / "outputs" / "unsent").glob("[!.]*")
    assert not [path for path in kept.rglob("*") if path.is_file() and b"PASSWORD" in
                path.read_bytes()]  # fmt: skip
    run_history.mark_dead_runs(made(root))
    unsent.send(made(root), root)
    assert capsys.readouterr().out == "1 cell that could not be logged: logged now\n"
    run = mlflow.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "3"
    assert "error" not in run.data.tags
    history = MlflowClient().get_metric_history(log.run_id, "curve/rate")
    assert [point.value for point in sorted(history, key=lambda p: p.step)][:2] == [0.5, 0.25]
    assert run_history.find_finished(made(root), "abc").info.run_id == log.run_id
    assert not kept.exists()
    unsent.send(made(root), root)
    assert capsys.readouterr().out == ""


def test_it_waits_for_its_own_experiment_and_goes_with_its_run(log, root, capsys):
    unsent.keep(log, root)
    (kept,) = (root / "outputs" / "unsent").glob("[!.]*")
    unsent.send(store.connect(None, "another", root), root)
    assert kept.exists()
    MlflowClient().delete_run(log.run_id)
    unsent.send(made(root), root)
    assert not kept.exists()
    assert capsys.readouterr().out == ""
