"""What a sweep's jobs go by: which cells are to run, and whether any still is."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from sweep import processes
from sweep.launching import claims, plans
from sweep.launching.plans import Plan
from sweep.tracking import run_history


@pytest.fixture
def known(monkeypatch) -> dict[str, str]:
    """Runs by cell, as if an experiment held them."""
    runs: dict[str, str] = {}
    found = lambda experiment, cell, *, models: runs.get(cell)  # noqa: E731
    monkeypatch.setattr(run_history, "find_finished", found)
    all_found = lambda experiment, cells, *, models: {  # noqa: E731
        cell: runs[cell] for cell in cells if cell in runs
    }
    monkeypatch.setattr(run_history, "find_all_finished", all_found)
    return runs


@pytest.fixture
def claimed(monkeypatch) -> dict[str, list]:
    """Runs of other processes at work on cells."""
    claimed: dict[str, list] = {}
    monkeypatch.setattr(claims, "claims", lambda experiment, cell: claimed.get(cell, []))
    monkeypatch.setattr(plans, "AWAIT", 0.0)
    return claimed


def made(cells: list[str], finished: tuple[str, ...] = (), *, rerun: bool = False) -> Plan:
    return Plan.of("1", cells, ["a"], finished, rerun=rerun, models=True)


def run(cell: str, status: str = "FINISHED", begun: int = 0, **tags: object) -> SimpleNamespace:
    """A run as MLflow gives it back."""
    info = SimpleNamespace(status=status, start_time=begun, run_id=f"{cell}{begun}")
    return SimpleNamespace(info=info, data=SimpleNamespace(tags={"cell": cell, **tags}))


def test_what_is_finished_is_not_to_run():
    plan = made(["x", "y", "y"], finished=("x",))
    assert plan.todo == [1, 2]
    assert plan.sentence == "3 cells: 2 to run, 1 finished before"


def test_a_plan_is_read_as_it_was_written(known, tmp_path):
    plan = made(["x", "y"]).begin(tmp_path / "deep", "parent").launch([1])
    assert Plan.read(tmp_path / "deep") == plan
    assert (plan.parent, plan.cells, plan.todo) == ("parent", ["x", "y"], [0, 1])
    assert plan.launch([0]).launched == [1, 0]
    assert Plan.read(tmp_path / "deep").launched == [1, 0]
    assert plan.models
    assert not plan.rerun


def test_more_cells_stand_behind_those_that_there_are(known, tmp_path):
    plan = made(["a", "b"], ("a",)).begin(tmp_path, "parent").launch([1])
    longer = plan.extend(["c", "d"], {"c"})
    assert (longer.cells, longer.todo, longer.launched) == (["a", "b", "c", "d"], [1, 3], [1])
    assert Plan.read(tmp_path) == longer


def test_what_another_sweep_finished_meanwhile_is_not_wanted_any_more(known, claimed, tmp_path):
    plan = made(["x", "y", "z"]).begin(tmp_path, "parent")
    assert plan.wants(0)
    known["x"] = "run"
    claimed["y"] = [run("y", "RUNNING", host="there", pid=7)]
    assert [plan.wants(job) for job in range(3)] == [False, False, True]


def test_a_cell_that_is_finished_between_two_looks_is_not_wanted(
    known, claimed, tmp_path, monkeypatch
):
    plan = made(["x"]).begin(tmp_path, "parent")

    def finish(experiment, cell):
        known["x"] = "run"
        return []

    monkeypatch.setattr(claims, "claims", finish)
    assert not plan.wants(0)


def test_a_run_withdraws_where_the_cell_was_finished_since_it_was_wanted(known, monkeypatch):
    monkeypatch.setattr(claims, "withdraw_if_later", lambda run_id, experiment, cell: None)
    deleted = []
    client = SimpleNamespace(delete_run=deleted.append)
    monkeypatch.setattr(claims, "MlflowClient", lambda: client)
    made(["x"]).claim(0, "mine")
    known["x"] = SimpleNamespace(info=SimpleNamespace(run_name="theirs"))
    made(["x"], rerun=True).claim(0, "mine")
    assert deleted == []
    with pytest.raises(claims.Claimed, match="finished as theirs"):
        made(["x"]).claim(0, "mine")
    assert deleted == ["mine"]


def test_nothing_is_wanted_when_the_sweeps_process_is_dead(known, claimed, tmp_path):
    plan = made(["x"]).begin(tmp_path, "parent")
    dead = processes.current_process() | {"pid_started": 1.0}
    assert not replace(plan, process=dead).wants(0)


def test_a_stop_holds_for_its_sweep_and_not_for_the_next_in_the_same_folder(
    known, claimed, tmp_path
):
    made(["x"]).begin(tmp_path, "parent").stop()
    assert not Plan.read(tmp_path).wants(0)
    made(["x"]).begin(tmp_path, "next")
    assert Plan.read(tmp_path).wants(0)


def test_a_cell_is_left_until_a_run_of_the_sweep_or_of_another_has_ended(known):
    plan = made(["x", "y", "z"])
    assert plan.left([]) == [0, 1, 2]
    known["z"] = "run"
    assert plan.left([run("x", "FAILED")]) == [1]


def test_rows_come_from_what_ran_by_digest_and_of_several_runs_from_the_one_that_came_furthest():
    runs = [run("y", "KILLED", 1), run("x", "KILLED", 2), run("x", "FINISHED", 1), run("q")]
    own = made(["x", "y", "x", "z"], rerun=True).own_runs(runs)
    assert {job: run.info.run_id for job, run in own.items()} == {0: "x1", 1: "y1", 2: "x1"}


def test_what_another_sweep_finished_stands_in_for_a_run_that_was_cut_off(known):
    plan = made(["x", "y", "z"])
    known |= {"x": "theirs", "z": "theirs"}
    own = {0: run("x", "KILLED"), 1: run("y", "KILLED"), 2: run("z", "FAILED")}
    assert plan.reused_runs(own) == {0: "theirs"}


def test_what_is_under_way_elsewhere_is_awaited_and_run_where_its_process_dies(
    known, claimed, tmp_path, monkeypatch, capsys
):
    plan = made(["x", "y"]).begin(tmp_path, "parent")
    claimed |= {"x": [run("x", "RUNNING", host="there", pid=7)], "y": []}
    assert plan.await_free([0, 1]) == [1]

    waits = iter([lambda: None, lambda: claimed.clear()])
    monkeypatch.setattr(plans.time, "sleep", lambda seconds: next(waits)())
    assert plan.await_free([0]) == [0]
    said = "waiting for 1 cell under way elsewhere: process 7 on there\n"
    assert capsys.readouterr().out == said

    claimed["x"] = [run("x", "RUNNING", host="there", pid=7)]
    monkeypatch.setattr(plans.time, "sleep", lambda seconds: known.update(x="run"))
    assert plan.await_free([0]) == []


def test_a_stop_that_a_full_disk_forbids_says_so_and_raises_nothing(known, tmp_path, monkeypatch):
    plan = made(["x"]).begin(tmp_path, "parent")

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(plans.Path, "write_text", full)
        assert not plan.stop("the disk is full")
    assert not plan.stopped
    assert plan.stop("http://me:s3cret@host is gone")
    assert plan.stop_reason == "http://me:***@host is gone"
