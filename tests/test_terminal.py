"""Progress: bars below each other in a terminal, plain lines elsewhere."""

import io

import pytest

from sweep import terminal


def screen(monkeypatch, *, is_terminal: bool) -> io.StringIO:
    """What is written to a console of 80 columns from now on."""
    written = io.StringIO()
    how = {"file": written, "force_terminal": is_terminal, "width": 80, "height": 40}
    monkeypatch.setattr(terminal, "console", terminal._Console(**how))
    return written


def test_elsewhere_than_in_a_terminal_there_are_plain_lines_now_and_then(monkeypatch):
    written = screen(monkeypatch, is_terminal=False)
    with (
        terminal.progress_bar("sweep", 2, "cells") as one,
        terminal.progress("curve", 3, "steps") as done,
    ):
        one(1)
        done(0.7)
        done(0.7)
        monkeypatch.setattr(terminal, "EVERY", 0.0)
        done(0.7)
    assert written.getvalue() == "  curve: 2 of 3 steps\n"


def test_in_a_terminal_bars_stand_below_each_other_and_go_when_they_are_done(monkeypatch):
    written = screen(monkeypatch, is_terminal=True)
    with terminal.progress_bar("sweep", 2, "cells") as one:
        with terminal.progress("curve", 3, "steps") as done:
            one(1)
            done(2)
            assert [task.description for task in terminal._bars.tasks] == ["sweep", "curve"]
            assert [task.completed for task in terminal._bars.tasks] == [1, 2]
        assert [task.description for task in terminal._bars.tasks] == ["sweep"]
        terminal.print_line("a line")
    assert terminal._bars is None
    assert "a line" in written.getvalue()
    assert "\x1b[?25l" not in written.getvalue()  # the cursor is not hidden


def test_a_bar_goes_also_on_an_error(monkeypatch):
    screen(monkeypatch, is_terminal=True)
    with pytest.raises(ZeroDivisionError), terminal.progress_bar("sweep", 2, "cells"):
        raise ZeroDivisionError
    assert terminal._bars is None


def test_what_is_wrong_is_the_last_word_and_goes_to_standard_error(monkeypatch, capsys):
    screen(monkeypatch, is_terminal=True)
    with terminal.progress_bar("sweep", 2, "cells"):
        terminal.print_error("prune.frac is 7; " + "expected less than 1 " * 5)
        assert not terminal._bars.live.is_started
    assert capsys.readouterr().err.count("\n") == 1  # whole: no person reads it here
