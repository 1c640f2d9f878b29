"""`cl`, which kills itself at the moment that MOMENT names, such as `replace:2`: one that chance would hardly find."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cl.evaluation.evaluator
import cl.plugins.maths.per_example
import cl.training.checkpoint
from cl.cli import main

NAME, NUMBER = os.environ["MOMENT"].split(":")


def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose NUMBER-th call is the last thing that this process does."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(NUMBER):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


class Torn:
    """A checkpoint's file, half of which gets written."""

    die = staticmethod(deadly(lambda: None))

    def __init__(self, file: Any) -> None:
        self.file = file
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: Any) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.die()
        self.file.write(content[len(content) // 2 :])


def arm() -> None:
    system = SimpleNamespace(**vars(os))
    if NAME == "write":
        open_ = Path.open
        Path.open = lambda path, *a, **o: (  # type: ignore[method-assign, assignment]
            Torn(open_(path, *a, **o)) if path.name == "writing.tmp" else open_(path, *a, **o)
        )
    elif NAME in ("fsync", "replace"):
        setattr(system, NAME, deadly(getattr(os, NAME)))
        setattr(cl.training.checkpoint, "os", system)  # noqa: B010
    elif NAME == "drop":
        cl.training.checkpoint._whole = deadly(cl.training.checkpoint._whole)
    elif NAME == "evaluate":
        cl.evaluation.evaluator.Evaluator.scores = deadly(cl.evaluation.evaluator.Evaluator.scores)  # type: ignore[method-assign]
    elif NAME == "fisher":
        cl.plugins.maths.per_example._add = deadly(cl.plugins.maths.per_example._add)


if __name__ == "__main__":
    arm()
    main()
