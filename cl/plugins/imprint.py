"""Weight imprinting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from cl.plugins.base import Tools
from cl.plugins.shared.fixed_rows import FixedRows
from cl.plugins.shared.taught import BATCH_SIZE
from cl.types import Experience


@dataclass
class Imprint(FixedRows):
    """Keep the head's old rows as they are, and start each new one at the mean feature of its class.

    The mean is over the validation split, of normalised features, and rescaled to the mean norm of the old rows
    (without that of O). All papers on continual NER that follow CFNER do it beside any method, finetuning included.
    Cost: a pass over the validation split for each experience. When to use it: with a cosine head and few epochs, or
    to repeat these papers.
    """

    paper: ClassVar[str] = "Qi et al., 2018: Low-shot learning with imprinted weights"

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        if experience.index and (num_old := tools.store.views.width(experience.index - 1, experience.kind)):
            imprint(tools, experience, num_old)


def imprint(tools: Tools, experience: Experience, num_old: int) -> None:
    """Sets the head's rows from `num_old` on to the mean features of their classes, as long as the old rows are.

    A class that validation does not have stays as it was, but I-x takes the row of B-x.
    """
    head = tools.network.head(experience.kind)
    sums, counts = torch.zeros_like(head.weight.data), torch.zeros_like(head.weight.data[:, :1])
    was_training = tools.network.training
    tools.network.eval()
    with torch.no_grad():
        for batch in tools.batches_of(tools.store.dataset(experience.index, "valid"), BATCH_SIZE):
            output = tools.network(batch)[experience.kind]
            labels = output.targets.labels
            sums.index_add_(0, labels, normalize(output.features, dim=1).to(sums.dtype))
            counts.index_add_(0, labels, torch.ones_like(output.logits[:, :1]).to(counts.dtype))
    tools.network.train(was_training)
    found = tools.sum({"sums": sums, "counts": counts})
    rows = head.weight.data
    first = tools.store.views.outside(experience.index)  # O, then B-x and I-x in turn
    norm = rows[experience.kind == "token" : num_old].norm(dim=1).mean()
    for column in range(num_old, len(rows)):
        if found["counts"][column]:
            rows[column] = norm * normalize(found["sums"][column], dim=0)
            if head.bias is not None:  # that of a verbaliser suits the row that was there
                head.bias.data[column] = 0
        elif experience.kind == "token" and (column - first) % 2 == 0 and column > first:
            rows[column] = rows[column - 1]
