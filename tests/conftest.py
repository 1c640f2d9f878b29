"""What all tests share: tiny streams and learners, a few seconds on one core."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

os.environ.update(WANDB_MODE="offline", HF_HUB_OFFLINE="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny tensors gain nothing from more

from lightning.fabric.utilities import registry

from cl.runs.prepare import Prepared
from cl.testing import tiny

registry.entry_points = cache(entry_points)  # Lightning reads them at each fit: a fifth of a tiny one's time


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], Prepared]:
    """The encoded tiny stream of a name, read once."""
    return tiny.prepared


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, which tests read in place."""
    folder = Path(os.environ.get("CL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set CL_DATA")
    return folder
