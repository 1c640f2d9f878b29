"""What all tests share: tiny streams and learners, a few seconds on one core."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.update(WANDB_MODE="offline", HF_HUB_OFFLINE="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny tensors gain nothing from more

from cl.build import Prepared, prepare
from cl.config import Config, EvaluateConfig, NetworkConfig, StreamConfig, ToyConfig
from cl.learner import Training
from cl.models.backbone import Scratch

TINY = NetworkConfig(dropout=0.0, max_length=32, scratch=Scratch(hidden=16, layers=1, heads=2, vocabulary=400))
STREAMS = {
    "sequence": ToyConfig(domains=3, types=0, num_train=24, num_test=16),
    "token": ToyConfig(domains=0, types=3, num_train=24, num_test=16),
    "mixed": ToyConfig(domains=2, types=2, num_train=24, num_test=16),
}


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


def tiny_config(stream: str = "mixed", **changes: Any) -> Config:
    """A configuration that trains in about a second."""
    config = Config(
        stream=StreamConfig(toy=STREAMS[stream]),
        network=TINY,
        training=Training(batch_size=8, learning_rate=1e-2),
        trainer={
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 2,
            "log_every_n_steps": 1,
            "precision": "64-true",
            "accumulate_grad_batches": 1,
        },
        evaluate=EvaluateConfig(batch_size=16),
        strategies={"finetune": {}},
    )
    config.wandb.mode = "disabled"
    for key, value in changes.items():
        setattr(config, key, value)
    return config


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], Prepared]:
    """The encoded tiny stream of a name, read once."""
    known: dict[str, Prepared] = {}

    def get(stream: str) -> Prepared:
        if stream not in known:
            known[stream] = prepare(tiny_config(stream))
        return known[stream]

    return get


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, which tests read in place."""
    folder = Path(os.environ.get("CL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set CL_DATA")
    return folder
