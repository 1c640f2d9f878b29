"""The step: one epoch over the same examples, whoever trains."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from flops import forward_flops, peak
from ours import cell, same_batches
from peers import BATCH, Peer, bare, dynamic, fixed, hf_trainer, in_fp32, naive
from texts import Bench, texts_of
from timing import Report, race

from cl.types import KINDS, Kind

REFERENCE, HONEST = "bare, padded to 128", "bare, dynamic, fused"
FP32 = f"{REFERENCE}, fp32"  # what a run in bfloat16 is measured against as well
SAME, OURS = "bare, cl's batches, fused", "cl"


def run(bench: Bench, report: Report) -> None:
    """A table for tokens and one for sequences."""
    for kind in KINDS:
        _of_kind(kind, bench, report)


def _of_kind(kind: Kind, bench: Bench, report: Report) -> None:
    config, prepared = bench.prepare(kind, train=bench.size(320, 128))
    store = prepared.evaluator.store
    data, pad = store.dataset(0, "train"), store.pad
    texts = texts_of(data)
    model = Peer(bench.backbone, kind, store.views.width(0, kind), pad, bench.bf16)
    seconds: dict[str, Callable[[], float]] = {
        REFERENCE: lambda: bare(deepcopy(model), fixed(texts, pad)),
        "bare, dynamic": lambda: bare(deepcopy(model), dynamic(texts, pad)),
        HONEST: lambda: bare(deepcopy(model), dynamic(texts, pad), fused=True),
        "HF Trainer, dynamic": lambda: hf_trainer(deepcopy(model), texts),
        "Avalanche Naive, padded": lambda: naive(deepcopy(model), texts),
        SAME: lambda: same_batches(config, prepared),
        OURS: lambda: cell(config, prepared)[0]["seconds"],
    }
    others = {"padded": REFERENCE, "dynamic": HONEST, "same batches": SAME}
    if bench.bf16:
        seconds[FP32] = lambda: bare(in_fp32(model), fixed(texts, pad))
        others["padded, fp32"] = FP32
    found = report.race(kind, race(seconds, bench.rounds))
    at_peak = 3 * forward_flops(model, data.lengths) / peak(bench.bf16)  # a backward pass is two forward passes
    rows = []
    for name in found:
        took = found.median(name)
        speed = [1000 * took * BATCH / len(texts), len(texts) / took, int(data.lengths.sum()) / took]
        rows.append([name, *speed, f"{at_peak / took:.0%}", *found.against(name, others)])
    columns = ["", "ms a step", "examples/s", "tokens/s", "of the peak", *(f"× {short}" for short in others)]
    report.table(f"A training step, {kind}: {len(texts)} examples, {bench.precision}", columns, rows)
    report.ratios(kind, found, OURS, others)
