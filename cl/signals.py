"""Being asked to stop: SIGINT, SIGTERM, and the SIGUSR1 with which SLURM announces pre-emption."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Training ended because somebody asked for it, and a checkpoint holds all of it.

    Every rank raises it at the same place. (At a KeyboardInterrupt Lightning kills the other ranks.)
    """


class StopRequest:
    """Remembers a request to stop until the next moment at which stopping loses nothing.

    A second SIGINT stops at once. Outside the main thread, where Python allows no handlers, nothing is heard.
    `tell`: is called at each request.
    """

    def __init__(self, tell: Callable[[], object] | None = None) -> None:
        self.made, self.tell = False, tell

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over the signals for a while, and gives them back."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.take_over()
        try:
            yield
        finally:
            if in_main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def take_over(self) -> None:
        """Puts the handlers (again: Lightning puts its own at each fit)."""
        if in_main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.made and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.made = True
        if self.tell is not None:
            self.tell()


def in_main_thread() -> bool:
    """Whether this is the thread that Python delivers signals to."""
    return threading.current_thread() is threading.main_thread()
