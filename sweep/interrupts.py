"""Ctrl-C, SIGTERM, a closed terminal: what they do before anything is begun, and after."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOON = 0.1  # seconds

_came: signal.Signals | None = None


def end_at_once() -> None:
    """Let Ctrl-C end the process without a word, as long as there is nothing to lose."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_in_order() -> None:
    """Let all raise KeyboardInterrupt, whose first argument is the signal's number."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in ALL:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _again


def obey() -> None:
    """Raise the interrupt that came, where somebody has made something else of it."""
    if _came is not None:
        raise KeyboardInterrupt(_came)


def no_more() -> None:
    """Let all but Ctrl-C do nothing any more: once is enough."""
    for number in ALL[1:]:
        signal.signal(number, signal.SIG_IGN)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a shell says of a process that such a signal has ended."""
    return 128 + (interrupt.args or (signal.SIGINT,))[0]


def _interrupt(number: int, frame: Any) -> NoReturn:
    global _came
    _came = signal.Signals(number)
    raise KeyboardInterrupt(_came)


def _again(ignored: Any) -> None:
    """Send a signal once more that came where Python lets no exception out, as in a finalizer."""
    if not isinstance(ignored.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
    elif _came is not None:
        timer = threading.Timer(SOON, os.kill, (os.getpid(), _came))
        timer.daemon = True
        timer.start()
