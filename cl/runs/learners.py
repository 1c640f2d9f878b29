"""From a configuration to the learner of a cell."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from cl.config import Config, NetworkConfig
from cl.config.trainer import for_lightning
from cl.data.sampler import derive_seed
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import Backbone
from cl.models.network import Network
from cl.runs.networks import fresh_backbone
from cl.runs.prepare import Prepared
from cl.runs.strategies import build_strategy
from cl.training.learner import Learner
from cl.types import UserError


def build_learner(config: Config, prepared: Prepared, strategy: str, seed: int) -> Learner:
    """A fresh learner of one cell. Draws the network's weights from the seed (torch's global generator)."""
    torch.manual_seed(derive_seed(seed, "network"))
    own = fresh_backbone(config.network, prepared.backbone, prepared.tokenizer, derive_seed(seed, "adapter"))
    return learner_of(config, network_of(config.network, own), prepared.evaluator, strategy, seed)


def network_of(config: NetworkConfig, own: Backbone) -> Network:
    """The network around a backbone, without heads."""
    dropout = 0.1 if config.dropout is None else config.dropout
    return Network(own, config.pooling, dropout, config.head, config.cache_mb * 1_000_000)


def learner_of(config: Config, network: Network, evaluator: Evaluator, strategy: str, seed: int) -> Learner:
    """The learner of a network and a strategy of the configuration."""
    return Learner(
        network,
        build_strategy(config.strategies[strategy], strategy),
        evaluator,
        config.training,
        seed=seed,
        evaluate_batch_size=config.evaluate.batch_size,
        initial=config.evaluate.initial,
        predictions=config.evaluate.predictions,
        max_epochs=config.trainer["max_epochs"],
        max_steps=config.trainer.get("max_steps"),
        limit_train_batches=config.trainer.get("limit_train_batches"),
        overfit_batches=config.trainer.get("overfit_batches") or None,
    )


def num_processes(trainer: dict[str, Any]) -> int:
    """How many processes Lightning trains a cell in; raises `UserError` for arguments that it refuses."""
    return int(trainer_of(trainer).world_size)


def trainer_of(trainer: dict[str, Any]) -> Trainer:
    """A trainer to be asked for device, processes and precision; raises `UserError` for arguments that are refused."""
    messages = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    messages.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Trainer(**for_lightning(trainer))
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: lightning refuses it: {error}") from error
    finally:
        messages.disabled = False
