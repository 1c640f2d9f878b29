"""Being asked to stop: SIGINT, SIGTERM, the SIGUSR1 with which SLURM announces pre-emption, or a time that is over."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Training ended because somebody asked for it, and a checkpoint holds all of it.

    Every rank raises it at the same place. (At a KeyboardInterrupt Lightning kills the other ranks.)
    """


class StopRequest:
    """Remembers a request to stop until the next moment at which stopping loses nothing.

    A second SIGINT stops at once. Outside the main thread Python allows no signal handlers: signals are ignored there.
    `tell`: is called at each request. `max_time`: so long after now it counts as made by itself.
    """

    def __init__(self, tell: Callable[[], object] | None = None, max_time: timedelta | None = None) -> None:
        self.asked, self.tell = False, tell
        self.deadline = None if max_time is None else time.monotonic() + max_time.total_seconds()

    @property
    def made(self) -> bool:
        """Whether to stop: somebody asked, or the time is over."""
        return self.asked or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """Whether the time is over."""
        return self.seconds_left == 0.0

    @property
    def reason(self) -> str:
        """Why to stop, in words."""
        return "trainer.max_time is over" if self.out_of_time and not self.asked else "interrupted"

    @property
    def seconds_left(self) -> float | None:
        """What is left of the time, None for no end of it."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

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
        if self.asked and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.asked = True
        if self.tell is not None:
            self.tell()


def in_main_thread() -> bool:
    """Whether this is the thread that Python delivers signals to."""
    return threading.current_thread() is threading.main_thread()
