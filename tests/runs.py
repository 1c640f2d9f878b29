"""Trains a tiny cell in this process and says how it ended. Shared by the conformance tests."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from conftest import tiny_config
from lightning.pytorch import Trainer
from torch import Tensor

from cl.build import Prepared, build_learner
from cl.config import Config
from cl.learner import Learner

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


@dataclass
class End:
    """What a run left behind."""

    learner: Learner
    rows: list[Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.learner.network.state_dict()

    @property
    def plugins(self) -> dict[str, Any]:
        return self.learner.strategy.state_dict()


def configured(stream: str, plugins: dict[str, Any], accumulate: int = 1, **trainer: Any) -> Config:
    config = tiny_config(stream, strategies={"tested": plugins})
    return replace(config, trainer=config.trainer | trainer | {"accumulate_grad_batches": accumulate})


def train(prepared: Prepared, config: Config, num_experiences: int | None = None, seed: int = 0) -> End:
    """Learns the first experiences of a stream."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    learner = build_learner(config, prepared, next(iter(config.strategies)), seed)
    rows = []
    for experience in prepared.stream.experiences[:num_experiences]:
        learn(learner, config, experience.index, prepared)
        rows.append(learner.row)
    return End(learner, rows)


def learn(learner: Learner, config: Config, index: int, prepared: Prepared) -> None:
    """Learns one experience."""
    learner.begin(prepared.stream[index])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(**(config.trainer | QUIET | {"max_epochs": 1})).fit(learner, datamodule=learner.data())


def flatten(state: Any, prefix: str = "") -> dict[str, Any]:
    """A nested state as one level of tensors and plain values."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flatten(value, f"{prefix}{key}.").items()}
    return {prefix: state}


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Two states agree: bit for bit, or within an absolute tolerance (of values of order 1)."""
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for key, value in a.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            assert value.shape == b[key].shape, key
            difference = (value - b[key]).abs().max().item() if value.numel() else 0.0
            assert difference <= tolerance, f"{key} differs by {difference}"
        elif isinstance(value, Tensor):
            assert torch.equal(value, b[key]), key
        elif isinstance(value, float):
            assert abs(value - b[key]) <= tolerance, key
        else:
            assert value == b[key], key
