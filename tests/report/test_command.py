"""The command: its formats, what it says, and what it refuses in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
import runs

from sweep.report import command, page, write

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("r.html", "<!doctype html>"),
        ("r.csv", "network,strategy,"),
        ("r.md", "No defence here"),
        ("r.tex", "% \\usepackage{booktabs}"),
    ],
)
def test_the_ending_says_the_format(sweeps, tmp_path, capsys, name, begins):
    path = tmp_path / name
    assert command.main([sweeps[3], "--uri", sweeps.uri, "--output", str(path)]) == 0
    assert path.read_text().startswith(begins)
    said = capsys.readouterr().out
    assert "No defence here removes the backdoor" in said
    assert f"Written: {path}" in said
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_the_format_may_be_given(sweeps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main([sweeps[3], "--uri", sweeps.uri, "--format", "latex"]) == 0
    assert "\\toprule" in (tmp_path / "report.tex").read_text()


def test_a_sweep_writes_its_report_itself(sweeps, tmp_path):
    parent = sweeps[60]
    write(parent, tmp_path / "report.html")
    assert (
        "60 cells (52 finished, 1 failed, 6 skipped, 1 missing), 20 strategies, 3 seeds"
        in (tmp_path / "report.html").read_text()
    )


def test_pictures_take_what_room_is_left(sweeps, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    for most in (2_000_000, 2_400_000):
        monkeypatch.setattr(page, "MOST_BYTES", most)
        write(sweeps[60], path)
        assert most - 400_000 < path.stat().st_size <= most
    assert path.read_text().count("data:image/webp") == 53  # one of each cell, one that they share


def test_a_report_that_cannot_be_made_is_told_and_fails_no_sweep(monkeypatch, capsys):
    def full(*arguments):
        raise OSError("no room")

    monkeypatch.setattr(command, "write", full)
    command.log(runs.parent("abc"))
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("There is no report of this sweep (OSError: no room); to make one:")
    assert said.endswith("python -m sweep.report abc")


def refused(capsys, *arguments: str) -> str:
    assert command.main(list(arguments)) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    return found.err


def test_what_is_not_a_database_is_told_and_nothing_is_written(tmp_path, capsys):
    path = tmp_path / "mlflow.db"
    output = tmp_path / "report.html"
    more = ("--output", str(output))
    assert "is not there" in refused(capsys, "--uri", f"sqlite:///{path}", *more)
    path.write_text("these are no runs")
    assert "cannot be read by MLflow" in refused(capsys, "--uri", f"sqlite:///{path}", *more)
    assert not output.exists()


def test_a_run_that_is_not_there_is_told(sweeps, capsys, tmp_path):
    sweeps[3]
    before = tmp_path / "report.html"
    before.write_text("an earlier one")
    told = refused(capsys, "f" * 32, "--uri", sweeps.uri, "--output", str(before))
    assert "is no experiment and no run at" in told
    assert before.read_text() == "an earlier one"


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys):
    told = refused(capsys, "--output", str(tmp_path / "no" / "report.html"))
    assert "expected a file in a folder that is there" in told
    assert "expected a file" in refused(capsys, "--output", str(tmp_path))


def test_it_is_a_command(tmp_path):
    python = [sys.executable, "-m", "sweep.report", "--uri", f"sqlite:///{tmp_path / 'no.db'}"]
    ended = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
