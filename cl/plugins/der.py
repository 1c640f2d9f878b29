"""Dark experience replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl.batches import Output, Step
from cl.data.dataset import Dataset, ragged
from cl.plugins.base import Tools
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.shared.remembering import Remembering
from cl.types import Experience, Kind


@dataclass
class DER(Remembering):
    """Match the logits that remembered examples had when they were stored.

    `strength` ≥ 0 weighs the mean squared distance of logits, over the columns known when they were stored.
    Logits are taken once an experience has been learnt. Cost: a forward and backward pass of `batch_size` examples;
    32 bytes an example and 4 bytes a target and column. When to use it: as replay, where stored logits are affordable.
    """

    paper: ClassVar[str] = "Buzzega et al., 2020: Dark experience for general continual learning"

    strength: float = 0.5
    words: dict[Kind, dict[int, Tensor]] = field(init=False, repr=False, default_factory=dict)
    logits: dict[Kind, dict[int, Tensor]] = field(init=False, repr=False, default_factory=dict)

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if not len(self.buffer):
            return None
        drawn = tools.forward_on(self.draw(tools, "logits"), step.batch)
        return self.strength * drawn.mean(self.distance, list(self.words))

    def distance(self, kind: Kind, output: Output) -> Tensor:
        """Mean squared distance of each target's logits from the stored ones, `[N]`."""
        found = torch.zeros(len(output.targets), device=output.logits.device)
        self.stay_on(found.device)
        for experience, words in self.words[kind].items():
            if not len(words):
                continue
            stored = self.logits[kind][experience]
            place = torch.searchsorted(words, output.targets.words).clamp(max=len(words) - 1)
            squares = (output.raw[:, : stored.shape[1]] - stored[place].to(output.logits.dtype)).square().mean(1)
            found = torch.where(words[place] == output.targets.words, squares, found)
        return found

    def stay_on(self, device: torch.device) -> None:
        """Moves what is stored to a device, once: a checkpoint, and the upkeep, leave it on the CPU."""
        for of_kind in (*self.words.values(), *self.logits.values()):
            for experience, stored in of_kind.items():
                of_kind[experience] = stored.to(device)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        self.stay_on(torch.device("cpu"))
        data = self.remembered(tools)
        kept, _ = ragged(tools.store.word_offsets, data.rows)
        for kind, stored in self.words.items():
            for earlier, words in stored.items():  # some made room for new ones
                stays = torch.isin(words, kept)
                stored[earlier], self.logits[kind][earlier] = words[stays], self.logits[kind][earlier][stays]
        new = data[data.experience == experience.index]
        words, logits = self.logits_of(tools, new, experience.kind)
        self.words.setdefault(experience.kind, {})[experience.index] = words
        self.logits.setdefault(experience.kind, {})[experience.index] = logits

    def logits_of(self, tools: Tools, data: Dataset, kind: Kind) -> tuple[Tensor, Tensor]:
        """The targets of `data`, sorted, `[W]`, and the network's logits for them, `[W, C]`, on the CPU."""
        words = ragged(tools.store.word_offsets, data.rows)[0].sort().values
        head = tools.network.head(kind)
        logits = torch.zeros(len(words), head.num_columns, dtype=head.logit_dtype)
        tools.network.eval()
        with torch.no_grad():
            for batch in tools.batches_of(data, self.batch_size):
                output = tools.network(batch)[kind]
                logits[torch.searchsorted(words, output.targets.words.cpu())] = output.raw.cpu()
        tools.network.train()
        return words, tools.sum({"logits": logits})["logits"]


@dataclass
class DERPlusPlus(DER):
    """Match the logits that remembered examples had when they were stored, and the labels of others.

    `strength` ≥ 0 as in der; `label_strength` ≥ 0 weighs the cross-entropy of a second, independent draw.
    Cost: two forward and backward passes of `batch_size` examples; 32 bytes an example and 4 bytes a target and
    column. When to use it: before der: labels cost no memory.
    """

    label_strength: float = 0.5

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        dark = super().loss(tools, step)
        if dark is None:
            return None
        drawn = tools.forward_on(self.draw(tools, "labels"), step.batch)
        return dark + self.label_strength * drawn.mean(lambda kind, output: cross_entropy(output))
