"""Tiny streams and networks, trained in this process within half a second: what proofs and tests run on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from cl.config import Config, EvaluateConfig, NetworkConfig, StreamConfig, ToyConfig, WandbConfig
from cl.config.trainer import for_lightning
from cl.evaluation.matrix import Row
from cl.models.backbone import of_family
from cl.models.options import Scratch
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared, prepare
from cl.runs.streams import build_stream
from cl.streams.stream import Stream
from cl.training.learner import Learner
from cl.training.outcome import Learnt
from cl.training.recipe import Training

NETWORK = NetworkConfig(dropout=0.0, max_length=32, scratch=Scratch(hidden=16, layers=1, heads=2, vocabulary=400))
STREAMS = {
    "sequence": ToyConfig(domains=3, types=0, num_train=24, num_test=16),
    "token": ToyConfig(domains=0, types=3, num_train=48, num_test=16),
    "mixed": ToyConfig(domains=2, types=2, num_train=56, num_test=16),
    "own": ToyConfig(domains=2, types=2, num_train=56, num_test=16),
}
"""By name: sentiment domains, entity types one by one, both in turn, and both with candidates of their own."""
# Entities take more to be found at all: more examples, in about as many steps, at a higher rate.
TRAININGS = {
    "sequence": Training(batch_size=8, learning_rate=1e-2),
    "token": Training(batch_size=16, learning_rate=3e-2),
    "mixed": Training(batch_size=14, learning_rate=2e-2),
    "own": Training(batch_size=14, learning_rate=2e-2),
}
# Options with which a listed plugin is quick on a tiny stream; one that is missing here is proven with its defaults.
QUICK: dict[str, dict[str, Any]] = {
    "ewc": {"num_examples": 6, "strength": 10.0},
    "mas": {"num_examples": 6},
    "replay": {"capacity": 10, "batch_size": 5},
    "der": {"capacity": 10, "batch_size": 5},
    "der++": {"capacity": 10, "batch_size": 5},
    "er-ace": {"capacity": 10, "batch_size": 5},
    "agem": {"capacity": 10, "batch_size": 5},
    "gem": {"capacity": 10, "batch_size": 3},
    "gdumb": {"capacity": 20},
    "fgm": {"epsilon": 0.05},
}


def options(name: str, **changes: Any) -> dict[str, Any]:
    """A listed plugin with its quick options, as a strategy of one plugin."""
    return {name: QUICK.get(name, {}) | changes}


def tiny_config(stream: str = "mixed", **changes: Any) -> Config:
    """A configuration that trains in about a second, in double precision on the CPU; `changes`: its sections."""
    config = Config(
        stream=StreamConfig(toy=STREAMS[stream]),
        network=NETWORK,
        training=TRAININGS[stream],
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
        wandb=WandbConfig(mode="disabled"),
    )
    return replace(config, **changes)


def configured(
    stream: str,
    plugins: dict[str, Any],
    accumulate: int = 1,
    backbone: str = "scratch",
    adapter: dict[str, Any] | None = None,
    **trainer: Any,
) -> Config:
    """The configuration of one strategy, called `tested`. `backbone`: see `prepared`."""
    network = replace(NETWORK, backbone=backbone, adapter=adapter or {})
    config = tiny_config(stream, strategies={"tested": plugins}, network=network)
    return replace(config, trainer=config.trainer | trainer | {"accumulate_grad_batches": accumulate})


@cache
def prepared(stream: str, backbone: str = "scratch") -> Prepared:
    """The encoded tiny stream of a name, read once, for a backbone: a scratch one, or a family of transformers such as
    llama, with two layers of random weights that do not depend on the seed.
    """
    if backbone != "scratch":
        found = prepared(stream)
        size = replace(NETWORK.scratch, layers=2, vocabulary=len(found.tokenizer))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            family = of_family(backbone, size, max_position_embeddings=NETWORK.max_length, initializer_range=0.2)
        return replace(found, backbone=family)
    config = tiny_config(stream)
    built = build_stream(config.stream)
    if stream == "own":
        built = Stream([replace(experience, candidates="own") for experience in built])
    return prepare(config, built)


@dataclass
class End:
    """What a run left behind: the learner, and what is known after each experience."""

    learner: Learner
    learnt: list[Learnt]

    @property
    def rows(self) -> list[Row]:
        """The row of scores after each experience."""
        return [learnt.row for learnt in self.learnt]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's state."""
        return self.learner.network.state_dict()

    @property
    def plugins(self) -> dict[str, Any]:
        """Each plugin's state."""
        return self.learner.strategy.state_dict()


def fresh_learner(config: Config, prepared: Prepared, seed: int = 0) -> Learner:
    """A learner that has learnt nothing, whose key biases do not train.

    A key bias of attention changes no output (softmax does not see what it adds), so its gradient is rounding error.
    A penalty that pulls it back to where it was lets Adam turn that into steps of the size of the learning rate: a
    difference without a meaning, where proofs look for differences with one.
    """
    learner = build_learner(config, prepared, next(iter(config.strategies)), seed)
    for name, parameter in learner.network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.endswith("key.bias"))
    return learner


def train(
    prepared: Prepared,
    config: Config,
    num_experiences: int | None = None,
    seed: int = 0,
    change: Callable[[Learner], None] = lambda learner: None,
) -> End:
    """Learns the first experiences of a stream; `change` is done to the learner first."""
    learner = fresh_learner(config, prepared, seed)
    change(learner)
    chosen = prepared.stream.experiences[:num_experiences]
    return End(learner, [learn(learner, config, experience.index, prepared) for experience in chosen])


def learn(learner: Learner, config: Config, index: int, prepared: Prepared) -> Learnt:
    """Learns one experience."""
    learner.begin(prepared.stream[index])
    return fit(learner, config)


def fit(learner: Learner, config: Config, **trainer: Any) -> Learnt:
    """Trains from where the learner stands in its experience to the end of it."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return learner.learn(Trainer(**(for_lightning(config.trainer) | trainer)))


def flatten(state: Any, prefix: str = "") -> dict[str, Any]:
    """A nested state as one level of tensors and plain values."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flatten(value, f"{prefix}{key}.").items()}
    return {prefix.removesuffix("."): state}


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """Two states agree: bit for bit, or within an absolute tolerance (of values of order 1)."""
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys(), f"one has what the other has not: {sorted(a.keys() ^ b.keys())}"
    for key, value in a.items():
        if isinstance(value, Tensor):
            assert value.shape == b[key].shape, f"{key} has the shapes {value.shape} and {b[key].shape}"
            difference = (value.double() - b[key].double()).abs().max().item() if value.numel() else 0.0
            assert difference <= tolerance, f"{key} differs by {difference}"
        elif isinstance(value, float):
            assert abs(value - b[key]) <= tolerance, f"{key} is {value} and {b[key]}"
        else:
            assert value == b[key], f"{key} is {value} and {b[key]}"
