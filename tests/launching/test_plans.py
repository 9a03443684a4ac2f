"""What a sweep's jobs go by: which cells are to run, and whether any still is."""

import pytest

from sweep.launching.plans import Plan
from sweep.tracking import run_history


@pytest.fixture
def known(monkeypatch) -> dict[str, str]:
    """Runs by cell, as if an experiment held them."""
    runs: dict[str, str] = {}
    found = lambda experiment, cell, *, models: runs.get(cell)  # noqa: E731
    monkeypatch.setattr(run_history, "find_finished", found)
    return runs


def made(cells: list[str], *, rerun: bool = False) -> Plan:
    return Plan.of("1", cells, ["a"], rerun=rerun, models=True)


def test_what_is_finished_is_not_to_run_unless_all_is(known):
    known["x"] = "run"
    assert made(["x", "y", "y"]).todo == [1, 2]
    assert made(["x", "y", "y"]).sentence == "3 cells: 2 to run, 1 finished before"
    assert made(["x"], rerun=True).todo == [0]


def test_a_plan_is_read_as_it_was_written(known, tmp_path):
    plan = made(["x", "y"])
    plan.write(tmp_path / "deep", "parent")
    read = Plan.read(tmp_path / "deep")
    assert (read.parent, read.cells, read.todo) == ("parent", ["x", "y"], [0, 1])
    assert read.models
    assert not read.rerun


def test_what_another_sweep_finished_meanwhile_is_not_wanted_any_more(known, tmp_path):
    made(["x", "y"]).write(tmp_path, "parent")
    plan = Plan.read(tmp_path)
    assert plan.wants(0)
    known["x"] = "run"
    assert not plan.wants(0)
    assert plan.wants(1)


def test_a_stop_holds_for_its_sweep_and_not_for_the_next_in_the_same_folder(known, tmp_path):
    made(["x"]).write(tmp_path, "parent")
    Plan.read(tmp_path).stop()
    assert not Plan.read(tmp_path).wants(0)
    made(["x"]).write(tmp_path, "next")
    assert Plan.read(tmp_path).wants(0)
