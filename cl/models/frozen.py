"""The frozen part of a network: what layers below all that trains make of examples is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cl.batches import Batch
from cl.models.backbone.encoder import Backbone
from cl.models.backbone.facts import trying
from cl.models.packing import Packing

AT_ONCE = 4096  # tokens that are computed together


class FrozenPart:
    """Hidden states of examples as they enter the first layer that trains, by row of the store.

    Examples are computed in groups that depend on nothing but which examples there are: so their numbers are the same
    on any number of ranks, in any order and after a resume. All copies of a network share its frozen part, and use it
    as long as their weights there are the very same. `limit`: bytes that it may take.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.forget()

    def __deepcopy__(self, memo: Any) -> FrozenPart:
        return self

    def forget(self) -> None:
        """Frees it all: to be called whenever other weights train."""
        self.num_bytes = 0
        self._groups: list[Tensor] = []
        self._users: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()

    def prepare(self, backbone: Backbone, rows: Tensor, lengths: Tensor, batch_of: Callable[[Tensor], Batch]) -> None:
        """Makes room for rows `[n]` of `lengths` `[n]` tokens, the shortest first, as long as there is room.

        There is none where nothing is frozen, or where what is frozen draws dropout. `batch_of`: rows as a batch on the
        device.
        """
        self.forget()
        self._layer = backbone.first_trained_layer()
        if not self.limit or self._layer == 0 or backbone.first_position is None:
            return
        sample = batch_of(rows[:1])
        self._autocast = _autocast(sample.row.device)
        hidden = self._tried(backbone, sample)
        if hidden is None:
            return
        order = lengths.argsort(stable=True)
        rows, lengths = rows[order], lengths[order]
        ends = lengths.cumsum(0)
        num = int((ends * hidden.shape[1] * hidden.element_size() <= self.limit).sum())
        if not num:
            return
        rows, lengths, ends = rows[:num], lengths[:num], ends[:num]
        device = hidden.device
        self._batch_of, self._parameters = batch_of, _parameters_below(backbone, self._layer)
        self._hidden = hidden.new_empty(int(ends[-1]), hidden.shape[1])
        self._ids = torch.zeros(2, len(self._hidden), dtype=torch.int64, device=device)
        self._groups = list(torch.split(rows, _sizes(lengths)))
        self._done = [False] * len(self._groups)
        self._number = torch.full((int(rows.max()) + 1,), -1)
        self._number[rows] = torch.arange(num)
        self._group = torch.arange(len(self._groups)).repeat_interleave(torch.tensor(list(map(len, self._groups))))
        self._first, self._length = ends - lengths, lengths
        self.num_bytes = self._hidden.nbytes + self._ids.nbytes

    def stands(self, backbone: Backbone) -> bool:
        """Whether what was prepared holds on: the same weights are frozen, up to the same layer."""
        if not self._groups or self._layer != (layer := backbone.first_trained_layer()):
            return False
        now = _parameters_below(backbone, layer)
        return now.keys() == self._parameters.keys() and all(p is self._parameters[name] for name, p in now.items())

    def pass_of(self, backbone: Backbone, batch: Batch) -> Tensor | None:
        """Hidden states `[B, L, H]` of a batch, by what is kept of its examples and computed anew of the others; None
        where nothing is kept of any.
        """
        if not self._groups or not backbone.is_packed_now or not self._serves(backbone, batch):
            return None
        hidden = self._below(backbone, batch)
        if hidden is None:
            return None
        return backbone.above(self._layer, hidden, batch.input_ids, batch.attention_mask, batch.types)

    # ---------------------------------------------------------------------------------------------- inside

    def _tried(self, backbone: Backbone, batch: Batch) -> Tensor | None:
        """The hidden states of a batch, None where a pass through them is no pass, or where dropout draws."""
        given = batch.input_ids, batch.attention_mask, batch.types
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            hidden = backbone.below(self._layer, *given)  # with dropout, if any is drawn there in training
        with trying(backbone):
            whole, parts = backbone(*given), backbone.above(self._layer, hidden, *given)
        return hidden if torch.equal(whole, parts) else None

    def _serves(self, backbone: Backbone, batch: Batch) -> bool:
        if backbone not in self._users:
            parameters = dict(backbone.named_parameters())
            self._users[backbone] = all(parameters.get(name) is p for name, p in self._parameters.items())
        return self._users[backbone] and self._autocast == _autocast(batch.row.device)

    def _below(self, backbone: Backbone, batch: Batch) -> Tensor | None:
        rows = batch.row.cpu()
        number = torch.where(rows < len(self._number), self._number[rows.clamp(max=len(self._number) - 1)], -1)
        lengths = batch.attention_mask.sum(1).cpu()
        known = number >= 0
        known &= self._length[number] == lengths
        for group in torch.unique(self._group[number[known]]).tolist():
            if not self._done[group]:
                self._fill(backbone, group)
        packing = Packing.of(batch.attention_mask)
        owner = torch.arange(len(rows)).repeat_interleave(lengths)
        within = torch.arange(len(owner)) - (lengths.cumsum(0) - lengths)[owner]
        places = self._first[number][owner] + within
        places[~known[owner]] = 0
        places = places.to(self._hidden.device)
        owner = owner.to(places.device)
        differs = (self._ids[:, places] != _ids(batch, packing)).any(0)  # a plugin may have changed its words
        known = known.to(places.device)
        known[owner[differs]] = False
        if not known.any():
            return None
        hidden = self._hidden[places]
        if not known.all():
            other = ~known
            types = None if batch.types is None else batch.types[other]
            with torch.no_grad():
                hidden[other[owner]] = backbone.below(
                    self._layer, batch.input_ids[other], batch.attention_mask[other], types
                )
        return hidden

    def _fill(self, backbone: Backbone, group: int) -> None:
        rows = self._groups[group]
        batch = self._batch_of(rows)
        number = self._number[rows]
        first, end = int(self._first[number[0]]), int(self._first[number[-1]] + self._length[number[-1]])
        with torch.no_grad():
            self._hidden[first:end] = backbone.below(self._layer, batch.input_ids, batch.attention_mask, batch.types)
        self._ids[:, first:end] = _ids(batch, Packing.of(batch.attention_mask))
        self._done[group] = True


def _ids(batch: Batch, packing: Packing) -> Tensor:
    """Token ids and token types of the real tokens, `[2, T]`."""
    types = torch.zeros_like(batch.input_ids) if batch.types is None else batch.types
    return torch.stack([packing.pack(batch.input_ids), packing.pack(types)])


def _sizes(lengths: Tensor) -> list[int]:
    """How many rows each group has, so that it has `AT_ONCE` tokens at most, or one row."""
    sizes, tokens = [0], 0
    for length in lengths.tolist():
        if sizes[-1] and tokens + length > AT_ONCE:
            sizes.append(0)
            tokens = 0
        sizes[-1] += 1
        tokens += length
    return sizes


def _parameters_below(backbone: Backbone, layer: int | None) -> dict[str, nn.Parameter]:
    above = () if layer is None else backbone.layers[layer:]
    later = {id(p) for module in above for p in module.parameters()}
    return {n: p for n, p in backbone.named_parameters() if not p.requires_grad and id(p) not in later}


def _autocast(device: torch.device) -> torch.dtype | None:
    enabled = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if enabled else None
