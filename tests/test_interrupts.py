"""Ctrl-C ends without a word before anything is begun; later it is an exception, as SIGTERM."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep import interrupts

ROOT = Path(__file__).resolve().parents[1]
TOLD = "import os, signal; from sweep import interrupts; interrupts.{}(); "


def ends(
    code: str, how: signal.Signals, ignored: bool = False, after: float = 0
) -> tuple[int, str]:
    """Exit code and output of Python code that is sent a signal as soon as it says a word."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(how, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.send_signal(how)
    printed, _ = process.communicate()
    return process.returncode, printed


WAIT = "print('ready', flush=True); import time; time.sleep({}); print('went on')"


def test_at_first_it_ends_without_a_word():
    code = TOLD.format("use_default_ctrl_c") + WAIT.format(60)
    assert ends(code, signal.SIGINT) == (-signal.SIGINT, "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_later_it_is_an_exception_that_knows_its_signal(how):
    code = TOLD.format("use_default_ctrl_c(); interrupts.raise_on_signals")
    code += "\ntry:\n    " + WAIT.format(60)
    code += "\nexcept KeyboardInterrupt as error: print(int(error.args[0]))"
    assert ends(code, how) == (0, f"{int(how)}\n")


@pytest.mark.parametrize("when", ["use_default_ctrl_c", "raise_on_signals"])
def test_what_a_shell_has_ignored_stays_ignored(when):
    code = TOLD.format(when) + WAIT.format(0.5)
    assert ends(code, signal.SIGINT, ignored=True) == (0, "went on\n")


FINALIZER = """
import os, signal, time, weakref
from sweep import interrupts
interrupts.raise_on_signals()
class Thing: pass
thing = Thing()
kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
print("ready", flush=True)
try:
    del thing
    print("lost", flush=True)
    time.sleep(60)
except KeyboardInterrupt as error:
    print(int(error.args[0]))
"""


def test_where_python_lets_no_exception_out_it_comes_again():
    done = subprocess.run(
        [sys.executable, "-c", FINALIZER], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ready\nlost\n{int(signal.SIGTERM)}\n"
    assert done.stderr == ""


def test_what_somebody_makes_of_it_is_still_an_interrupt():
    code = TOLD.format("raise_on_signals") + "print('ready', flush=True)\nimport time\n"
    code += "try:\n    time.sleep(60)\nexcept BaseException: pass\ninterrupts.raise_pending()\n"
    _, printed = ends(code, signal.SIGINT)
    assert "KeyboardInterrupt" in printed.splitlines()[-1]


def test_the_exit_code_is_a_shells():
    assert interrupts.exit_code(KeyboardInterrupt(signal.SIGTERM)) == 143
    assert interrupts.exit_code(KeyboardInterrupt()) == 130


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_once_is_enough(how):
    code = TOLD.format("raise_on_signals(); interrupts.ignore_signals") + WAIT.format(0.5)
    assert ends(code, how) == (0, "went on\n")


def test_the_program_starts_so():
    code = "import runpy, sys; print('ready', flush=True); sys.argv = ['run.py', '--help']; "
    code += "runpy.run_path('run.py', run_name='__main__')"
    ended, printed = ends(code, signal.SIGINT, after=1)
    assert (ended, printed) in [(-signal.SIGINT, ""), (130, "prunesweep: interrupted\n")]
