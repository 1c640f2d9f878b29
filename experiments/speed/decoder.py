"""The step of a decoder, all of it trained: what packing saves against padding. Few examples: a step takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from ours import cell, same_batches
from peers import BATCH, Peer, bare, dynamic, fixed
from step import HONEST, OURS, REFERENCE, SAME
from texts import Absent, Bench, texts_of
from timing import Report, race
from transformers import AutoConfig

from cl.types import KINDS


def run(bench: Bench, report: Report) -> None:
    """A table for tokens and one for sequences."""
    if AutoConfig.from_pretrained(bench.backbone).model_type == "bert":
        raise Absent("the backbone is no decoder")
    for kind in KINDS:
        config, prepared = bench.prepare(kind, train=bench.size(96, 48))
        store = prepared.evaluator.store
        texts, pad = texts_of(store.dataset(0, "train")), store.pad
        model = Peer(bench.backbone, kind, store.views.width(0, kind), pad, bench.bf16)
        seconds: dict[str, Callable[[], float]] = {
            REFERENCE: lambda model=model, texts=texts, pad=pad: bare(deepcopy(model), fixed(texts, pad)),
            HONEST: lambda model=model, texts=texts, pad=pad: bare(deepcopy(model), dynamic(texts, pad), fused=True),
            SAME: lambda config=config, prepared=prepared: same_batches(config, prepared),
            OURS: lambda config=config, prepared=prepared: cell(config, prepared)[0]["seconds"],
        }
        others = {"padded": REFERENCE, "dynamic": HONEST, "same batches": SAME}
        found = report.race(f"decoder, {kind}", race(seconds, bench.rounds))
        rows = [[name, 1000 * found.median(name) * BATCH / len(texts), *found.against(name, others)] for name in found]
        columns = ["", "ms a step", *(f"× {short}" for short in others)]
        report.table(f"A training step of a decoder, {kind}: {len(texts)} examples", columns, rows)
        report.ratios(f"decoder, {kind}", found, OURS, others)
