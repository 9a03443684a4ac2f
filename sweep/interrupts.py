"""Ctrl-C, SIGTERM, a closed terminal: what they do before anything is begun, and after."""

import signal
import threading
from typing import Any, NoReturn

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def no_more() -> None:
    """Let all but Ctrl-C do nothing any more: once is enough."""
    for number in ALL[1:]:
        signal.signal(number, signal.SIG_IGN)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a shell says of a process that such a signal has ended."""
    return 128 + (interrupt.args or (signal.SIGINT,))[0]


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number))
