"""What cells tell is printed once, in the order in which it was told, with the place of each."""

import threading

import pytest

from sweep.launching import progress
from sweep.launching.progress import Reporter, tell


@pytest.fixture
def clock(monkeypatch):
    """Seconds that go by as a test says."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    return now


def test_lines_have_their_place_and_the_time_left_by_what_is_done(tmp_path, clock, capsys):
    moved = []
    reporter = Reporter(tmp_path, 3, moved.append)
    tell(tmp_path, "training")
    clock[0] += 20
    tell(tmp_path, "b: 7 %", done=True)
    reporter.print_new()
    assert capsys.readouterr().out == "training\n1 of 3, 40 s left: b: 7 %\n"
    clock[0] += 20
    tell(tmp_path, "a: 8 %", done=True)
    tell(tmp_path, "c: 9 %", done=True)
    reporter.print_new()
    reporter.print_new()
    assert capsys.readouterr().out == "2 of 3, 20 s left: a: 8 %\n3 of 3: c: 9 %\n"
    assert moved == [1, 1, 1]


def test_half_a_line_waits_for_the_rest_and_an_older_sweeps_lines_are_gone(tmp_path, capsys):
    tell(tmp_path, "of the sweep before")
    reporter = Reporter(tmp_path, 1, lambda more: None)
    tell(tmp_path, "whole")
    with (tmp_path / progress.PROGRESS).open("a") as file:
        file.write('{"text": "half", ')
        file.flush()
        reporter.print_new()
        assert capsys.readouterr().out == "whole\n"
        file.write('"done": false}\n')
    reporter.print_new()
    assert capsys.readouterr().out == "half\n"


def test_what_other_processes_tell_is_printed_as_it_comes_and_all_of_it_at_the_end(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "EVERY", 0.01)
    reporter = Reporter(tmp_path, 50, lambda more: None)
    reporter.watch()
    threads = [
        threading.Thread(target=tell, args=(tmp_path, f"{n:03} " + "x" * 40)) for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporter.close()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line[:3] for line in lines) == [f"{n:03}" for n in range(50)]
    tell(tmp_path, "late")
    assert capsys.readouterr().out == ""


def test_what_is_told_of_a_cell_is_kept_and_no_password_is_written(tmp_path, capsys):
    reporter = Reporter(tmp_path, 1, lambda more: None)
    tell(tmp_path, "at http://me:PASSWORD@host", done=True, cell={"job": 3, "metrics": {"a": 0.5}})
    reporter.print_new()
    assert reporter.cells == {3: {"job": 3, "metrics": {"a": 0.5}}}
    assert "PASSWORD" not in (tmp_path / progress.PROGRESS).read_text()
