"""The network: one backbone, one growable head a kind, one mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from cl.batches import Batch, Output, Outputs
from cl.models.backbone import Backbone
from cl.models.frozen import FrozenPart
from cl.models.options import AskedPooling, Pooling, ReadoutName
from cl.models.readouts import Readout, readout
from cl.types import KINDS, Kind, UserError

MASKED = -1e9  # the logit of a class that is no candidate: finite, so that differences of two masked ones are 0


class Network(nn.Module):
    """Batch → `{kind: Output}`: features and logits of the batch's valid targets alone.

    A sequence's feature is its hidden states pooled over `[L]` (see `pooling_of`); a word's is the hidden state of one
    of its sub-tokens. Every head takes part in every pass, if only with no target, so that
    each parameter has a gradient on each rank. `cache`: bytes for what its frozen part makes of examples.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: AskedPooling = "auto",
        dropout: float = 0.1,
        head: ReadoutName = "linear",
        cache: int = 0,
    ) -> None:
        super().__init__()
        self.frozen = FrozenPart(cache // 2)  # of what an experience trains on
        self.frozen_tests = FrozenPart(cache // 2)  # of what every experience is scored on
        self.backbone, self.pooling, self.head_type = backbone, pooling_of(pooling, backbone), head
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict()
        self.is_copy = False  # of another network, with its base by reference
        self.trained: set[str] = set()  # names of parameters that train or have trained

    def train(self, mode: bool = True) -> Network:
        """Train or eval mode; a backbone that is frozen stays in eval mode, without dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Casts and moves. A copy leaves alone what it has by reference: that goes with the network it belongs to."""
        if not self.is_copy:
            return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]
        base = self.base()
        for parameter in (p for name, p in self.named_parameters() if name not in base):
            parameter.data = fn(parameter.data)
        for module in self.modules():
            module._buffers |= {name: fn(buffer) for name, buffer in module._buffers.items() if buffer is not None}
        return self

    def base(self) -> dict[str, nn.Parameter]:
        """The parameters that do not train and never have: they are as they were loaded."""
        return {n: p for n, p in self.named_parameters() if not p.requires_grad and n not in self.trained}

    def note_what_trains(self) -> list[str]:
        """Notes, once plugins have frozen what they freeze, what trains from now on; the names that are new in it."""
        new = [name for name, p in self.named_parameters() if p.requires_grad and name not in self.trained]
        self.trained.update(new)
        return new

    @property
    def classes(self) -> dict[Kind, tuple[str, ...]]:
        """The names of each head's columns."""
        return {kind: self.head(kind).names for kind in KINDS if kind in self.heads}

    def grow(self, classes: dict[Kind, tuple[str, ...]], generator: Generator) -> None:
        """Heads for these classes: new kinds and columns are added, old ones keep their values."""
        device = next(self.backbone.parameters()).device
        for kind in (kind for kind in KINDS if kind in classes):
            if kind not in self.heads:
                words = self.backbone.label_words
                self.heads[kind] = readout(self.head_type, kind, self.backbone.hidden, words).to(device)
            self.head(kind).grow(classes[kind], generator)

    def take_dtype(self, state: dict[str, Tensor]) -> None:
        """Where heads were trained in another precision, by `trainer.precision` 64-true or the like, all goes to it."""
        dtype = next(value.dtype for name, value in state.items() if name.startswith("heads."))
        if any(parameter.dtype != dtype for parameter in self.heads.parameters()):
            self.to(dtype)

    def head(self, kind: Kind) -> Readout:
        """The head of a kind: the readout of its features."""
        head = self.heads[kind]
        assert isinstance(head, Readout)
        return head

    def forward(self, batch: Batch) -> Outputs:
        parts = self.frozen, self.frozen_tests
        kept = (hidden for part in parts if (hidden := part.pass_of(self.backbone, batch)) is not None)
        hidden = next(kept, None)
        if hidden is None:
            hidden = self.backbone(batch.input_ids, batch.attention_mask, batch.types)
        return {kind: self._output(kind, batch, hidden) for kind in KINDS if kind in self.heads}

    def _output(self, kind: Kind, batch: Batch, hidden: Tensor) -> Output:
        targets = batch.targets[kind]
        if kind == "sequence":
            features = pool(hidden, batch.attention_mask, self.pooling)[targets.rows]
        else:
            features = hidden[targets.rows, targets.positions]
        head = self.head(kind)
        logits = raw = head(self.dropout(features))
        if targets.candidates is not None:
            logits = raw.masked_fill(~targets.candidates[:, : head.num_columns], MASKED)
        return Output(logits, raw, features, targets)


def pooling_of(asked: AskedPooling, backbone: Backbone) -> Pooling:
    """How hidden states become the feature of a text. Raises `UserError` for one that is alike for all texts."""
    if asked == "auto":
        return "last" if backbone.is_causal else "mean"
    if asked == "first" and backbone.is_causal:
        raise UserError(
            "network.pooling is first, and under causal attention the first token has seen nothing of the text but "
            "itself: set network.pooling to last or mean"
        )
    return asked


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """`[B, L, H]` → `[B, H]`: the mean over real tokens, the first token's, or the last real one's."""
    if pooling == "first":
        return hidden[:, 0]
    lengths = attention_mask.sum(1)
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    return (hidden * attention_mask.unsqueeze(-1).to(hidden.dtype)).sum(1) / lengths.unsqueeze(-1).to(hidden.dtype)
