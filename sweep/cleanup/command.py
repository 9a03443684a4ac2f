"""The command `python -m sweep.cleanup`: list what is left over in an experiment, end or delete it.

python -m sweep.cleanup                            dead runs: list them
python -m sweep.cleanup --end                      mark them KILLED
python -m sweep.cleanup --delete --older-than 7d   delete them, and what failed, from 7 days on
"""

import argparse
from collections.abc import Sequence

import mlflow

from sweep import BadInput, terminal
from sweep.cleanup import deletion
from sweep.cleanup.selection import Leftover, Selection, Wanted, age, seconds, select
from sweep.results.sources import EXPERIMENT, in_a_sentence
from sweep.tracking import run_history, store

SHORT = 8  # characters of a run's id that are shown
COLUMNS = ["run", "sweep", "status", "host", "silent for", "why"]
LONGEST_REASON = 40  # characters


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for bad input, told in one sentence."""
    options = _parser().parse_args(arguments)
    return terminal.exit_code(lambda: clean_up(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep.cleanup",
        description="List the runs of an experiment whose process died, and end or delete them. By "
        "age or sweep also those that failed or were killed. Without --end or --delete nothing is "
        "changed.",
    )
    parser.add_argument("experiment", nargs="?", help=f"its name (default: {EXPERIMENT})")
    parser.add_argument("--uri", help="where MLflow keeps the runs (default: as run.py)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--end", action="store_true", help="mark the dead ones KILLED")
    action.add_argument("--delete", action="store_true", help="delete them with all they logged")
    parser.add_argument("--sweep", metavar="ID", help="only this sweep; the first characters do")
    parser.add_argument("--host", help="only runs of this machine, which is no more at work")
    parser.add_argument("--older-than", metavar="AGE", help="only what is silent so long: 7d, 12h")
    parser.add_argument(
        "--finished", action="store_true", help="with --sweep: the whole sweep, finished cells too"
    )
    return parser


def clean_up(options: argparse.Namespace) -> None:
    """List what is left over, and end or delete it where that is asked for."""
    if options.finished and not options.sweep:
        raise BadInput("--finished goes with --sweep ID, the sweep that is to go as a whole")
    older_than = None if options.older_than is None else seconds(options.older_than)
    store.use_existing(options.uri)
    with in_a_sentence(Exception):  # of MLflow, and of what it stands on
        name = options.experiment or EXPERIMENT
        experiment = mlflow.get_experiment_by_name(name)
        if experiment is None:
            raise BadInput(f"there is no experiment {name!r} at {mlflow.get_tracking_uri()}")
        sweep = options.sweep and _sweep(experiment.experiment_id, options.sweep)
        wanted = Wanted(sweep, options.host, older_than, options.finished)
        selection = select(experiment.experiment_id, wanted)
        _print(selection, name)
        if options.end:
            _end(selection.leftovers)
        elif options.delete:
            _delete(selection.leftovers)
        elif selection.leftovers:
            terminal.print_line(
                "Nothing is changed yet: --end marks the dead ones KILLED, --delete deletes what "
                "is listed, with all it logged."
            )


def _sweep(experiment: str, start: str) -> str:
    """The id of the one sweep of the experiment whose id begins so."""
    ids = [run.info.run_id for run in run_history.parents(experiment)]
    found = [run_id for run_id in ids if run_id.startswith(start)]
    if len(found) != 1:
        raise BadInput(
            f"--sweep came as {start!r}, with which {len(found)} of the {len(ids)} sweeps of this "
            f"experiment begin; expected the id of one, as on MLflow's page of its run"
        )
    return found[0]


def _print(selection: Selection, experiment: str) -> None:
    leftovers = selection.leftovers
    if leftovers:
        terminal.print_table(COLUMNS, [_row(one) for one in leftovers], len(COLUMNS))
    else:
        terminal.print_line(f"Nothing is left over in {experiment} by what was asked for.")
    for users in dict.fromkeys(tuple(users) for _, users in selection.kept):
        count = sum(tuple(others) == users for _, others in selection.kept)
        short = ", ".join(user[:SHORT] for user in users)
        terminal.print_line(f"{_runs(count)} kept, as other sweeps reuse them: {short}.")
    for names in dict.fromkeys(tuple(names) for _, names in selection.registered):
        count = sum(tuple(others) == names for _, others in selection.registered)
        terminal.print_line(f"{_runs(count)} kept, as registered: {', '.join(names)}.")
    keeping = sum(one.keeps for one in leftovers)
    if keeping:
        terminal.print_line(
            f"{_runs(keeping)} of whole sweeps with finished cells: at most ended, and deleted by "
            f"--sweep ID --finished alone."
        )
    hosts = sorted({run.data.tags["host"] for run in selection.unknown})
    if hosts:
        terminal.print_line(
            f"{_runs(len(selection.unknown))} RUNNING without a heartbeat on {', '.join(hosts)}: "
            f"left alone, but for --host or --older-than."
        )


def _row(one: Leftover) -> list[str]:
    tags, info = one.run.data.tags, one.run.info
    sweep = info.run_id if "cells" in tags else tags.get("mlflow.parentRunId", "")
    why = one.why if len(one.why) <= LONGEST_REASON else f"{one.why[: LONGEST_REASON - 3]}..."
    return [info.run_id[:SHORT], sweep[:SHORT], info.status, tags["host"], age(one.silent), why]


def _end(leftovers: Sequence[Leftover]) -> None:
    dead = [one.run for one in leftovers if one.dead]
    for run in dead:
        run_history.kill(run)
    terminal.print_line(f"{_runs(len(dead))} KILLED now.")


def _delete(leftovers: Sequence[Leftover]) -> None:
    kept = [one for one in leftovers if one.keeps]
    if kept:
        _end(kept)
    gone = [one.run for one in leftovers if not one.keeps]
    with terminal.progress("deleting", len(gone), "runs") as done:
        whole = []
        for run in gone:
            whole.append(deletion.delete(run))
            done(1)
    if not gone:
        return
    terminal.print_line(f"{_runs(len(gone))} deleted, with models and files.")
    if not all(whole):
        terminal.print_line("Some files lie where only the server gets at them, or are protected.")
    terminal.print_line("For MLflow to forget them, and whatever else it holds as deleted:")
    terminal.print_line(deletion.gc_command(), wrap=False)


def _runs(count: int) -> str:
    """How many runs there are, as the subject of a sentence."""
    return "1 run is" if count == 1 else f"{count} runs are"
