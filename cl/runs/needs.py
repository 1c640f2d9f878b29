"""What a cell of each strategy will take: parameters, those that train, and memory, counted before anything trains."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightning.pytorch import Trainer
from torch import Tensor, nn

from cl.config import Config
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import Backbone
from cl.models.backbone.facts import HALF
from cl.models.network import Network
from cl.models.snapshot import same_structure
from cl.plugins.base import PluginError
from cl.plugins.maths.algebra import embeddings_of, parameters_of
from cl.plugins.shared.remembering import Remembering
from cl.runs.learners import learner_of, network_of, trainer_of
from cl.runs.networks import with_adapter
from cl.runs.passes import Passes, passes_of
from cl.runs.strategies import build_strategy
from cl.system.room import available, in_use
from cl.system.words import listed, size
from cl.types import UserError

log = logging.getLogger(__name__)
HELD = "program, data and backbone as it was loaded"
REMEDY = (
    "What takes less: network.adapter with `layers`, over a base in network.dtype=bfloat16, or on a GPU with "
    "network.quantize; or a smaller backbone"
)
LIGHTER = "Set network.adapter with `layers`, network.gradient_checkpointing=true, or a smaller training.batch_size"


@dataclass(frozen=True)
class Needs:
    """What one cell takes in each of its processes. `parts`: bytes at the peak by what they are for, on the device that
    trains; `certain`: those of them that no batch and no text can lessen. `rounds`: whether the backbone's own weights
    train in half precision.
    """

    strategy: str
    num_parameters: int
    num_trained: int
    parts: dict[str, int]
    certain: int
    rounds: bool

    @property
    def more(self) -> int:
        """Bytes beside those that are in use already."""
        return sum(num for name, num in self.parts.items() if name != HELD)

    def __str__(self) -> str:
        share = f"{self.num_trained / self.num_parameters:.2%}"
        each = ", ".join(f"{name} {size(num)}" for name, num in self.parts.items() if num)
        return (
            f"strategy {self.strategy} takes {self.num_parameters:,} parameters, {self.num_trained:,} of them trained "
            f"({share}), and about {size(sum(self.parts.values()))} of memory: {each}"
        )


@dataclass(frozen=True)
class Room:
    """Where cells train: `free` bytes there, for each of `num_processes` on this machine."""

    free: int
    num_processes: int
    on_gpu: bool

    @classmethod
    def of(cls, trainer: Trainer) -> Room:
        """Where a trainer trains."""
        device, here = trainer.strategy.root_device, trainer.world_size // trainer.num_nodes
        on_gpu = device.type == "cuda"
        return cls(available(device) // (1 if on_gpu else here), here, on_gpu)

    def __str__(self) -> str:
        return f"{size(self.free)} are free {self._where}"

    def problem(self, needs: Needs) -> str | None:
        """Why a cell cannot be trained here, None where nothing is certain."""
        return None if needs.certain <= self.free else self._said(needs, "does not fit", needs.certain, REMEDY)

    def doubt(self, needs: Needs) -> str | None:
        """Why it may not be possible to train it, None where it should be, or surely is not."""
        if needs.more <= self.free or needs.certain > self.free:
            return None
        return self._said(needs, "may not fit", needs.more, LIGHTER)

    def _said(self, needs: Needs, what: str, num: int, remedy: str) -> str:
        return (
            f"strategies.{needs.strategy} {what}: it takes {size(num)} more than is in use, and {size(self.free)} are "
            f"free {self._where}. {remedy}"
        )

    @property
    def _where(self) -> str:
        where = "on the GPU" if self.on_gpu else "in this machine's memory"
        return where if self.num_processes == 1 else f"{where} for each of {self.num_processes} processes"


def warnings_of(found: Sequence[Needs], room: Room) -> list[str]:
    """What to warn of before cells are trained."""
    doubts = [doubt for needs in found if (doubt := room.doubt(needs))]
    if rounded := [needs.strategy for needs in found if needs.rounds]:
        doubts.append(
            f"the backbone's own weights train in half precision under {listed(rounded, 3)}: small steps are lost in "
            "rounding, and many weights never move. Set network.dtype=float32 with "
            "trainer.precision=32-true or bf16-mixed; or set network.adapter"
        )
    return doubts


def refuse_what_cannot_fit(config: Config, backbone: Backbone, evaluator: Evaluator, names: Sequence[str]) -> list[str]:
    """What to warn of. Raises `UserError` where strategies cannot be trained in the memory that there is.

    What batches take is left to `cl check`: it needs a pass through the backbone.
    """
    found, room = needs_of(config, backbone, evaluator, names, measured=False), Room.of(trainer_of(config.trainer))
    if problems := [problem for needs in found if (problem := room.problem(needs))]:
        raise UserError("\n".join(problems))
    return warnings_of(found, room)


def needs_of(
    config: Config, backbone: Backbone, evaluator: Evaluator, names: Iterable[str], measured: bool = True
) -> list[Needs]:
    """What a cell of each of these strategies takes. No weight is copied; if batches are `measured`, a text is passed
    through the backbone once for each choice of what trains. Raises `UserError` for a trainer or an adapter that is
    refused.
    """
    trainer = trainer_of(config.trainer)
    base = with_adapter(config.network, backbone)
    passes: dict[frozenset[str], Passes] = {}
    found = []
    for name in names:
        try:
            shape, held = _at_its_widest(config, base, evaluator, name, trainer)
        except PluginError as error:  # one of a user's may look at weights, and here they have no numbers
            log.warning("strategy %s: what it takes in memory cannot be told: %s", name, error)
            continue
        trains = parameters_of(shape)
        parts = _parts(config, shape, held, trainer, is_there=not base.is_outline)
        if measured and not base.is_outline:
            if (key := frozenset(trains)) not in passes:
                passes[key] = passes_of(config, base, evaluator, key, trainer)
            parts |= _of_batches(config, name, passes[key], trainer)
        dense = _bytes(p for n, p in trains.items() if n not in embeddings_of(shape))
        copies = sum(held.values())
        certain = sum(parts[each] for each in ("weights", "gradients", "optimizer")) + copies * dense
        rounds = any(p.dtype in HALF for n, p in trains.items() if n.startswith("backbone."))
        numbers = sum(p.numel() for p in shape.parameters()), sum(p.numel() for p in trains.values())
        found.append(Needs(name, *numbers, parts, certain, rounds and not config.network.adapter))
    return found


def _at_its_widest(
    config: Config, base: Backbone, evaluator: Evaluator, name: str, trainer: Trainer
) -> tuple[Network, dict[str, int]]:
    """The network of a strategy, without numbers, in the experience in which most of it trains; and how many copies of
    that each plugin holds.
    """
    network = network_of(config.network, same_structure(base, lambda t: t.to("meta")))
    learner = learner_of(config, network, evaluator, name, 0)
    widest, most = network, -1
    for experience in evaluator.experiences:
        learner.experience = experience
        network.grow(evaluator.store.views.classes[experience.index], learner.tools.generator("head"))
        learner.strategy.adapt_model(learner.tools, experience)
        trained = _bytes(parameters_of(network).values())
        if trained >= most:
            widest, most = copy.deepcopy(network), trained
    num = len(evaluator.experiences)
    held = {plugin: each.copies(num) for plugin, each in learner.strategy.plugins.items()}
    trainer.precision_plugin.convert_module(widest)
    return widest, held


def _parts(config: Config, shape: Network, held: dict[str, int], trainer: Trainer, is_there: bool) -> dict[str, int]:
    """Bytes of what does not depend on the data. `is_there`: whether the backbone's weights are in memory already."""
    on_gpu = trainer.strategy.root_device.type == "cuda"
    trained = _bytes(parameters_of(shape).values())
    converted = trainer.precision in ("bf16-true", "16-true", "64-true")
    shared = is_there and config.network.adapter and not on_gpu and not converted  # the base is what was loaded
    options = config.training
    states = 2 if options.optimizer == "adamw" else int(options.momentum > 0)
    return {
        HELD: 0 if on_gpu else in_use(),
        "weights": trained if shared else _weights(config, shape, is_there),
        "gradients": trained * (2 if trainer.world_size > 1 else 1),  # processes add them up in buffers of their own
        "optimizer": trained * states,
        "best epoch": trained * options.keep_best,
        **{name: trained * num for name, num in held.items()},
    }


def _weights(config: Config, shape: Network, is_there: bool) -> int:
    """Bytes of all parameters; of linear layers that will be quantised, as they will be then."""
    total = _bytes(shape.parameters())
    if is_there or not config.network.quantize:
        return total
    bits = 4 if config.network.quantize.get("load_in_4bit") else 8
    every = shape.backbone.named_modules()
    linear = [module.weight for name, module in every if isinstance(module, nn.Linear) and "lora_" not in name]
    return total - sum(weight.nbytes - weight.numel() * bits // 8 for weight in linear if not weight.requires_grad)


def _of_batches(config: Config, name: str, passes: Passes, trainer: Trainer) -> dict[str, int]:
    """Bytes of what depends on the data: of a share of the largest batch, with what plugins add to it."""
    num_parts, options = trainer.world_size * trainer.accumulate_grad_batches, config.training
    plugins = build_strategy(config.strategies[name], name).plugins.values()
    drawn = sum(plugin.batch_size for plugin in plugins if isinstance(plugin, Remembering))
    num_tokens = None if options.batch_tokens is None else -(-options.batch_tokens // num_parts)
    most = passes.most(-(-(options.batch_size + drawn) // num_parts), num_tokens)
    return {"passes": most, "cache of frozen layers": passes.kept}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
