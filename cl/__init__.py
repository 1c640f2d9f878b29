"""`cl`: continual learning for language.

These names are for users: `load`, `run`, `check`, `report`, `Config`, `Plugin`, `Experience`, `Stream`,
`EvaluationMatrix`, `UserError`; and `cl.testing.prove`, `cl.runs.predict.Predictor`, `cl.streams.readers.Reader`. All
else is internal and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cl.system.threads import share_cores

if TYPE_CHECKING:
    from cl.config import Config, load
    from cl.evaluation.matrix import EvaluationMatrix
    from cl.plugins.base import Plugin
    from cl.runs.grid import run
    from cl.runs.inspection import check
    from cl.runs.results import report
    from cl.streams.stream import Stream
    from cl.types import Experience, UserError

__version__ = "0.1.0"
__all__ = [
    "Config",
    "EvaluationMatrix",
    "Experience",
    "Plugin",
    "Stream",
    "UserError",
    "check",
    "load",
    "report",
    "run",
]
HOMES = {
    "Config": "cl.config",
    "EvaluationMatrix": "cl.evaluation.matrix",
    "Experience": "cl.types",
    "Plugin": "cl.plugins.base",
    "Stream": "cl.streams.stream",
    "UserError": "cl.types",
    "check": "cl.runs.inspection",
    "load": "cl.config",
    "report": "cl.runs.results",
    "run": "cl.runs.grid",
}

share_cores()  # before anything loads torch


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: torch and transformers take seconds."""
    if name not in HOMES:
        raise AttributeError(f"module 'cl' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
