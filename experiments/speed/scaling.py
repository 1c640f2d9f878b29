"""What grows: with the number of experiences, with the size of a corpus; and what a buffer holds."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from statistics import median

from ours import Cell
from peers import BATCH, Peer, avalanche, avalanche_stream, whole
from texts import LENGTH, Bench, Text, padded, strategy, texts_of
from timing import Figures, Race, Report

from cl.data.encode import Encoder
from cl.data.module import ExperienceData, TrainLoader
from cl.runs.networks import build_backbone
from cl.runs.prepare import prepare
from cl.streams import scenarios
from cl.streams.stream import Stream
from cl.types import Corpus, Examples, Experience

STEPS = 3  # of an experience
EWC, PLAIN = ("cl ewc", "Avalanche EWC"), ("cl finetune", "Avalanche Naive")


def run(bench: Bench, report: Report) -> None:
    """Three tables."""
    _experiences(bench, report)
    _buffer(bench, report)
    _corpus(bench, report)


def _experiences(bench: Bench, report: Report) -> None:
    """EWC's step after so many experiences, all of the same few sentences: it is their number that costs."""
    counts = [1, 3] if bench.quick else [1, 5, 10, 50]
    last = counts[-1]
    config, read = bench.prepare("sequence", train=BATCH * STEPS)
    prepared = prepare(config, Stream(_repeated(read.stream[0], last + 1)))
    store = prepared.evaluator.store
    texts = texts_of(store.dataset(0, "train"))
    model = Peer(bench.backbone, "sequence", store.views.width(0, "sequence"), store.pad, bench.bf16)
    kept = 2 * sum(p.nbytes for p in model.parameters())  # by Avalanche, of each experience
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fits = memory // 2 // kept
    if fits < last:
        report.skip(f"Avalanche EWC after more than {fits}", f"{last} would hold {last * kept / 1e9:.1f} GB")
    ewc = strategy(config, ewc={"num_examples": BATCH})
    turns: dict[int, dict[str, list[Figures]]] = {count: {} for count in counts}
    for _ in range(bench.rounds):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            learning = {
                "cl finetune": Cell(config, prepared, one, saves=False).experiences_done(),
                "cl ewc": Cell(ewc, prepared, other, saves=False).experiences_done(),
                "Avalanche Naive": _avalanche(deepcopy(model), texts, last + 1, ewc=False),
                "Avalanche EWC": _avalanche(deepcopy(model), texts, min(fits, last) + 1, ewc=True),
            }
            for index in range(last + 1):  # everyone learns one, then everyone the next
                for name, experiences in learning.items():
                    if (done := next(experiences, None)) and index in turns:
                        turns[index].setdefault(name, []).append(done)
    rows: list[list] = []
    for count, figures in turns.items():
        found = report.race(f"after {count}", Race(figures))
        rows.append([count])
        for name, plain in zip(EWC, PLAIN, strict=True):
            if name in figures:
                ratio = report.ratio(f"{name} after {'the most' if count == last else count}", found.times(name, plain))
                rows[-1] += [ratio, found.median(name, "stored_bytes") / 1e6]
    rows = [row + [""] * (5 - len(row)) for row in rows]
    columns = ["experiences before", "cl: × finetune (goal ≤ 1.05)", "MB", "Avalanche, separate: × Naive", "MB"]
    report.table("EWC's step, and what it stores", columns, rows)


def _repeated(experience: Experience, times: int) -> list[Experience]:
    """The same examples under many names; they are encoded once."""
    splits = {name: experience.split(name) for name in ("train", "valid", "test")}
    examples = {name: Examples([s["text"] for s in of], [s["label"] for s in of]) for name, of in splits.items()}
    return scenarios.by_corpus([Corpus(f"e{number}", "sequence", examples) for number in range(times)])


def _avalanche(model: Peer, texts: list[Text], num_experiences: int, ewc: bool) -> Iterator[Figures]:
    """Learns one experience after the other; the seconds of the loop alone, as in `cl`."""
    from avalanche.training.plugins import EWCPlugin, SupervisedPlugin

    class Watch(SupervisedPlugin):
        def before_training_epoch(self, *_: object, **__: object) -> None:
            self.started = time.perf_counter()

        def after_training_epoch(self, *_: object, **__: object) -> None:
            self.seconds = time.perf_counter() - self.started

    watch, penalty = Watch(), EWCPlugin(1000.0, mode="separate")
    trainer = avalanche(model, [watch, penalty] if ewc else [watch])
    for experience in avalanche_stream([texts] * num_experiences, model.pad):
        trainer.train(experience)
        states = [*penalty.importances.values(), *penalty.saved_params.values()]
        stored = sum(kept.data.nbytes for state in states for kept in state.values())
        yield {"seconds": watch.seconds, "stored_bytes": stored}


def _buffer(bench: Bench, report: Report) -> None:
    """What remembered sentences take: references and flat tokens, or tensors padded to LENGTH."""
    _, prepared = bench.prepare("token", train=bench.size(1000, 100))
    data = prepared.evaluator.store.dataset(0, "train")
    words = data.store.word_offsets[data.rows + 1] - data.store.word_offsets[data.rows]
    flat = 4 * int(data.lengths.sum()) + 8 * int(words.sum()) + 16 * len(data)  # int32; offsets int64
    ids, labels = padded(texts_of(data), data.store.pad, LENGTH)
    rows = [
        ["cl: references into the stream's store", 32 * len(data) / 1e6],
        ["cl: their share of the store", flat / 1e6],
        ["ids, labels and mask as int64, padded to 128", (2 * ids.nbytes + labels.nbytes) / 1e6],
    ]
    report.table(f"{len(data)} remembered sentences", ["", "MB"], rows)


def _corpus(bench: Bench, report: Report) -> None:
    """Encoding and batches of corpora of several sizes: CoNLL's sentences again and again."""
    config, prepared = bench.prepare("token", train=1000)
    sentences = [sample["tokens"] for sample in prepared.stream[0].train]
    data = prepared.evaluator.store.dataset(0, "train")
    encoder = Encoder(build_backbone(config.network, prepared.stream)[1], LENGTH)

    def seconds(work: Callable[[], object]) -> float:
        return median(whole(work) for _ in range(bench.rounds))

    rows = []
    for thousands in (1, 2) if bench.quick else (1, 10, 100):
        encode = seconds(partial(encoder.encode, sentences * thousands, "token"))
        again = data.rows.repeat(thousands)
        larger = type(data)(data.store, again, again * 0, again * 0)
        plan = ExperienceData(larger, 0, batch_size=BATCH, max_epochs=1, seed=0)
        loader = TrainLoader(plan, accumulate=1, rank=0, num_ranks=1)
        order = seconds(lambda plan=plan: list(plan.global_batches()))
        batches = seconds(lambda loader=loader: sum(1 for _ in loader))
        size = len(larger)
        rows.append([f"{size:,}", encode, 1e6 * encode / size, 1000 * order, 1000 * batches / plan.num_steps])
    columns = ["sentences", "encoding once, s", "µs a sentence", "order of an epoch, ms", "a batch with its order, ms"]
    report.table("Corpus size", columns, rows)
