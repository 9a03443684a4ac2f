"""Ctrl-C, SIGTERM, a closed terminal: what they do before anything is begun, and after."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESEND_AFTER = 0.1  # seconds

_received: signal.Signals | None = None


def use_default_ctrl_c() -> None:
    """Let Ctrl-C end the process without a word, as long as there is nothing to lose."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_signals() -> None:
    """Let all `SIGNALS` raise KeyboardInterrupt, whose first argument is the signal's number."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _resend


def raise_pending() -> None:
    """Raise the interrupt that was received, where a library has swallowed it."""
    if _received is not None:
        raise KeyboardInterrupt(_received)


def forget() -> None:
    """Take the interrupt that was received for done with."""
    global _received
    _received = None


def ignore_signals() -> None:
    """Let all but Ctrl-C do nothing any more: once is enough."""
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_IGN)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code that a shell gives a process that such a signal has ended."""
    return 128 + (interrupt.args or (signal.SIGINT,))[0]


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    global _received
    _received = signal.Signals(number)
    raise KeyboardInterrupt(_received)


def _resend(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal once more that came where Python lets no exception out, as in a finalizer."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
    elif _received is not None:
        timer = threading.Timer(RESEND_AFTER, os.kill, (os.getpid(), _received))
        timer.daemon = True
        timer.start()
