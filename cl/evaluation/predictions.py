"""What a network predicts: the logits of every target of a pass, and what is kept of them in a cell's folder."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cl.batches import Batch
from cl.data.dataset import Store, ragged
from cl.models.network import Network
from cl.system.files import write_bytes
from cl.types import SplitName, UserError

FOLDER = "predictions"  # in that of a cell
NONE = -1  # the column of a word of which nothing was predicted: it was cut off


@dataclass(frozen=True)
class Predicted:
    """What was predicted of `n` targets: `columns` int64 `[n]`, `NONE` for none, and their `probability`, float32 `[n]`
    in [0, 1], 0 for none.

    A text has one target, a sentence one a word.
    """

    columns: Tensor
    probability: Tensor

    @classmethod
    def nothing(cls, num_words: int) -> Predicted:
        """Of so many words, before any pass."""
        return cls(torch.full((num_words,), NONE), torch.zeros(num_words))

    def at(self, words: Tensor, seen: Tensor) -> Predicted:
        """Of these words `[n]`, nothing where `seen` (bool `[n]`) is false."""
        return Predicted(self.columns[words].where(seen, NONE), self.probability[words].where(seen, 0.0))


def logits_of(network: Network, batches: Iterable[Batch], store: Store) -> Iterator[tuple[Tensor, Tensor]]:
    """`words` int64 `[N]` of the store, on the CPU, and their `logits` `[N, C]`, batch by batch and kind by kind.

    The windows of a text of kind sequence come last, and all with the mean of their logits.
    """
    of_windows: list[tuple[Tensor, Tensor]] = []
    was_training = network.training
    network.eval()
    for batch in batches:
        with torch.inference_mode():
            outputs = network(batch)
        for output in (output for output in outputs.values() if len(output.targets)):
            words = output.targets.words.cpu()
            if (part := store.is_part[words]).any():
                of_windows.append((words[part], output.logits.cpu()[part]))
            if not part.all():
                yield words[~part], output.logits[~part.to(output.logits.device)]
    network.train(was_training)
    if of_windows:
        words, logits = (torch.cat(parts) for parts in zip(*of_windows, strict=True))
        yield words, _pooled(store, words, logits)


def _pooled(store: Store, words: Tensor, logits: Tensor) -> Tensor:
    """The mean logits of each window's text, float64 `[N, C]`, given `words` `[N]` and `logits` `[N, C]` of windows."""
    rows = torch.searchsorted(store.word_offsets, words, right=True) - 1
    texts, place = torch.unique(store.text[rows], return_inverse=True)
    total = torch.zeros(len(texts), logits.shape[1], dtype=torch.float64).index_add_(0, place, logits.double())
    return (total / torch.bincount(place)[:, None])[place]


class Places(NamedTuple):
    """Targets that an experience is scored on, text by text in the order of its split, int64 `[n]` each: `words` of the
    store, the `rows` that they are in, and the number of each one's text in the split, `texts`.
    """

    words: Tensor
    rows: Tensor
    texts: Tensor


def places_of(store: Store, experience: int, split: SplitName) -> Places:
    """The targets of an experience. Of a sequence it is the one word of its first row."""
    rows = store.splits[experience, split]
    texts = store.is_first[rows].cumsum(0) - 1
    if store.views.kinds[experience] == "sequence":
        first = store.is_first[rows]
        return Places(store.word_offsets[rows[first]], rows[first], texts[first])
    words, owner = ragged(store.word_offsets, rows)
    return Places(words, rows[owner], texts[owner])


def save(cell: Path, learnt: int, predicted: dict[int, Predicted], store: Store, split: SplitName) -> None:
    """Keeps in a cell's folder what was predicted after an experience, `predictions/e<learnt>.npz`.

    For each experience `j` of `predicted` the arrays `columns/j` and `gold/j` int32 `[n]`, `probability/j` float16
    `[n]`, and `text/j` int32 `[n]`: the number of the text in the split, in its order. `n` is of texts, or of words.
    """
    arrays: dict[str, np.ndarray] = {}
    for e, found in predicted.items():
        places = places_of(store, e, split)
        arrays[f"columns/{e}"] = found.columns.numpy().astype(np.int32)
        arrays[f"probability/{e}"] = found.probability.numpy().astype(np.float16)
        arrays[f"gold/{e}"] = store.columns(places.words, store.views.own(e)).numpy().astype(np.int32)
        arrays[f"text/{e}"] = places.texts.numpy().astype(np.int32)
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]
    write_bytes(_path(cell, learnt), memory.getvalue())


def load(cell: Path, learnt: int) -> dict[str, np.ndarray]:
    """The arrays that `save` has kept. Raises `UserError` where there are none."""
    path = _path(cell, learnt)
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file. Predictions are kept where the run had evaluate.predictions=true"
        ) from error


def _path(cell: Path, learnt: int) -> Path:
    return cell / FOLDER / f"e{learnt:04d}.npz"
