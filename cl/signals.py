"""Being asked to stop: SIGINT, SIGTERM, and the SIGUSR1 with which SLURM announces pre-emption."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Remembers a request to stop until the next moment at which stopping loses nothing.

    A second SIGINT stops at once. Calls from other threads than the main one change no handler.
    """

    def __init__(self) -> None:
        self.made = False

    def listen(self) -> None:
        """Takes over the signals (Lightning puts handlers of its own at each fit)."""
        try:
            for number in SIGNALS:
                signal.signal(number, self._note)
        except ValueError:  # not the main thread
            return

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.made and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.made = True
