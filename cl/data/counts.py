"""How much of what a stream holds, as the network sees it: the numbers that show a misread file at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cl.data.dataset import Store, ragged
from cl.streams.scenarios import columns_after
from cl.types import SPLITS, Experience, Kind

Known = dict[tuple[Kind, bytes], tuple[dict[str, Any], Tensor]]


def counts(experiences: Sequence[Experience], store: Store) -> list[dict[str, Any]]:
    """Of each experience `experience` (its number), `name`, `kind` and `splits`: plain values, fit for JSON.

    Of each split: `examples`; `classes`, the examples of each label, or `entities` of each type, as strict scoring
    reads them; `words` (of sentences); `tokens`; `cut_off`, the examples that lose their end at the length limit, and
    `cut_off_share` of all; `unknown_tokens`, those that stand for what the vocabulary has not; `windows`, the rows
    that the examples take up: more than there are examples where `network.overflow` splits some.
    """
    columns = columns_after(experiences, len(experiences) - 1)
    number = {kind: {name: i for i, name in enumerate(names)} for kind, names in columns.items()}
    known: Known = {}
    return [_of_experience(experience, store, number[experience.kind], known) for experience in experiences]


def _of_experience(experience: Experience, store: Store, number: dict[str, int], known: Known) -> dict[str, Any]:
    splits, shown = {}, store.views.columns[store.views.own(experience.index)]
    for name in SPLITS:
        found, raw = _of_rows(store.splits[experience.index, name], experience.kind, store, known)
        splits[name] = {
            **_labels(experience, shown, raw, number),
            **found,
        }
    return {"experience": experience.index, "name": experience.name, "kind": experience.kind, "splits": splits}


def _of_rows(rows: Tensor, kind: Kind, store: Store, known: Known) -> tuple[dict[str, Any], Tensor]:
    """What is the same in all experiences that share these rows, and how often each raw label stands in them."""
    key = kind, rows.numpy().tobytes()
    if key in known:
        return known[key]
    firsts = rows[store.is_first[rows]]
    texts = store.text[firsts]
    words, _ = ragged(store.word_offsets, rows if kind == "token" else firsts)  # each window of a text has its label
    num_cut = int(store.cut[texts].sum())
    found: dict[str, Any] = {"examples": len(texts)}
    if kind == "token":
        found["words"] = len(words)
    found |= {
        "tokens": int((store.offsets[rows + 1] - store.offsets[rows]).sum()),
        "unknown_tokens": int(store.unknown[texts].sum()),
        "cut_off": num_cut,
        "cut_off_share": num_cut / max(1, len(texts)),
        "windows": len(rows),
    }
    known[key] = found, store.labels[words].long().bincount(minlength=store.views.columns.shape[1])
    return known[key]


def _labels(experience: Experience, table: Tensor, raw: Tensor, number: dict[str, int]) -> dict[str, dict[str, int]]:
    """How often the experience's labels stand there: `raw` counts raw labels, `table` gives the column of each."""
    seen = table >= 0
    of_column = raw.new_zeros(len(number)).index_add_(0, table[seen], raw[seen]).tolist()
    by_class = {c: of_column[number[name]] for c, name in zip(experience.classes, experience.columns, strict=True)}
    if experience.kind == "sequence":
        return {"classes": by_class}
    return {"entities": {tag[2:]: n for tag, n in by_class.items() if tag.startswith("B-")}}
