"""A row of the matrix: five test sets, scored by each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from flops import forward_flops, peak
from ours import at_the_end
from peers import Batches, Peer, dynamic, in_fp32, whole
from texts import LENGTH, Bench, Text, padded, texts_of
from timing import Report, race

from cl.system.allocator import freed_memory_kept
from cl.training.learner import Learner

PADDED, DYNAMIC, OURS = "an experience at a time, padded to 128", "an experience at a time, dynamic padding", "cl"
FP32 = f"{PADDED}, fp32"
BATCH = 64


def run(bench: Bench, report: Report) -> None:
    """A table for test sets of sentences, and one for reviews, of which there is little padding to save."""
    for stream in ("sentences", "reviews"):
        _of_stream(stream, bench, report)


def _of_stream(stream: str, bench: Bench, report: Report) -> None:
    config, prepared = bench.prepare(stream, train=32, test=bench.size(400, 24))
    store = prepared.evaluator.store
    data = [store.dataset(experience.index, "test") for experience in prepared.stream]
    lengths = torch.cat([each.lengths for each in data])
    sets = [texts_of(each, len(data) - 1) for each in data]
    peer = Peer(bench.backbone, "sequence", store.views.width(-1, "sequence"), store.pad, bench.bf16)
    learner = at_the_end(config, prepared)

    def fixed(texts: list[Text]) -> Batches:
        return (padded(texts[i : i + BATCH], store.pad, LENGTH) for i in range(0, len(texts), BATCH))

    turns: dict[str, Callable[[], float]] = {
        PADDED: lambda: score(peer, map(fixed, sets)),
        DYNAMIC: lambda: score(peer, (dynamic(texts, store.pad, BATCH, shuffle=False) for texts in sets)),
        OURS: partial(seconds_of_row, learner),
    }
    others = {"padded": PADDED, "dynamic": DYNAMIC}
    if bench.bf16:
        plain = in_fp32(peer)
        turns[FP32] = lambda: score(plain, map(fixed, sets))
        others["padded, fp32"] = FP32
    found = report.race(stream, race(turns, bench.rounds))
    seconds = {name: found.median(name) for name in found}
    at_peak = forward_flops(peer, lengths) / peak(bench.bf16)
    rows = [[name, took, f"{at_peak / took:.0%}", *found.against(name, others)] for name, took in seconds.items()]
    title = f"Evaluation, {stream}: {len(lengths)} texts of {float(lengths.double().mean()):.0f} tokens in the mean"
    columns = ["", "seconds", "of the peak (goal ≥ 85 %)", *(f"× {short}" for short in others)]
    report.table(f"{title}, {bench.precision}", columns, rows)
    report.ratios(stream, found, OURS, others)


def seconds_of_row(learner: Learner) -> float:
    """Of every test set scored, as `cl run` does it."""
    with freed_memory_kept():
        return whole(lambda: learner.evaluate("test"))


def score(model: Peer, sets: Iterable[Batches]) -> float:
    """Seconds to count the right answers in each set."""
    model.eval()
    with torch.no_grad():
        return whole(lambda: [sum(int((model(x).argmax(1) == y).sum()) for x, y in batches) for batches in sets])
