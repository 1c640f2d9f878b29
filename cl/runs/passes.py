"""What passes over batches take in memory: measured on one text, for as many tokens as batches may have."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from cl.batches import Batch
from cl.config import Config
from cl.data.collate import collate
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import Backbone
from cl.models.frozen import AT_ONCE
from cl.models.network import Network
from cl.models.snapshot import same_structure
from cl.runs.learners import network_of
from cl.system.meter import Meter


@dataclass(frozen=True)
class Passes:
    """Bytes that the longest text of a stream, of `num_tokens` tokens, takes in a step of training (`learning`) and in
    a pass without gradients (`looking`). `kept`: bytes of the cache of frozen layers. `lengths` `[n]` of training
    examples, the longest first; `looked_at`: tokens of the largest batch without gradients.
    """

    learning: int
    looking: int
    num_tokens: int
    kept: int
    looked_at: int
    lengths: Tensor

    def most(self, num_examples: int, num_tokens: int | None) -> int:
        """Bytes of the largest pass, where a step is of so many examples, or of so many tokens."""
        longest = int(self.lengths[:num_examples].sum()) if num_tokens is None else max(num_tokens, self.num_tokens)
        return max(self.learning * longest, self.looking * self.looked_at) // self.num_tokens


def passes_of(
    config: Config, base: Backbone, evaluator: Evaluator, trains: Collection[str], trainer: Trainer
) -> Passes:
    """Passes one text through a backbone, on its own weights and in their precision, where these parameters train."""
    store, experiences = evaluator.store, evaluator.experiences
    network = _network(config, base, evaluator, trains)
    data = [store.dataset(e.index, "train") for e in experiences]
    tests = torch.cat([store.dataset(e.index, "test").lengths for e in experiences]).sort(descending=True).values
    longest = max(data, key=lambda each: int(each.lengths.max()))
    batch = collate(longest[longest.lengths.argmax()[None]], len(experiences) - 1, training=True)
    with torch.random.fork_rng(devices=[]), _precision(trainer):
        learning, looking = _learning(network, batch), _looking(network, batch)
        layer = network.backbone.first_trained_layer()
    looked_at, kept = int(tests[: config.evaluate.batch_size].sum()), 0
    if layer != 0 and config.network.cache_mb and config.trainer["max_epochs"] > 1:
        num_tokens = max(int(each.lengths.sum()) for each in data)
        each = network.backbone.hidden * next(base.parameters()).itemsize + 16  # with two numbers that tell words apart
        kept = min(config.network.cache_mb * 1_000_000, num_tokens * each)
        looked_at = max(looked_at, min(AT_ONCE, num_tokens))
    lengths = torch.cat([each.lengths for each in data]).sort(descending=True).values
    return Passes(learning, looking, int(lengths[0]), kept, looked_at, lengths)


def _network(config: Config, base: Backbone, evaluator: Evaluator, trains: Collection[str]) -> Network:
    """A network with heads of all classes upon the backbone's own weights, in which these parameters train."""
    network = network_of(config.network, same_structure(base, lambda tensor: tensor))
    network.grow(evaluator.store.views.classes[len(evaluator.experiences) - 1], torch.Generator())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trains)
        if name in trains:  # gradients are counted elsewhere
            parameter.register_post_accumulate_grad_hook(_drop)  # type: ignore[no-untyped-call]
    if config.network.gradient_checkpointing:
        network.backbone.checkpoint_gradients()
    return network.train()


def _learning(network: Network, batch: Batch) -> int:
    meter = Meter(network.parameters())
    with meter:
        outputs = network(batch)
        sum(output.logits.sum() for output in outputs.values()).backward()
    return meter.peak


def _looking(network: Network, batch: Batch) -> int:
    meter = Meter(network.parameters())
    with meter, torch.no_grad():
        network(batch)
    return meter.peak


def _drop(parameter: Tensor) -> None:
    parameter.grad = None


def _precision(trainer: Trainer) -> AbstractContextManager[object]:
    """Of mixed precision the part that a CPU has too."""
    mixed = str(trainer.precision).endswith("mixed")
    return torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext()
