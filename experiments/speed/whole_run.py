"""A whole run: five experiences, EWC and replay, every test set scored after each."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from copy import deepcopy
from functools import partial

import torch
from evaluation import score
from ours import cell
from peers import BATCH, RATE, Peer, avalanche, avalanche_stream, dynamic, in_fp32
from texts import Bench, Text, padded, strategy, texts_of
from timing import Figures, Report, race
from torch import Tensor
from torch.nn.functional import cross_entropy

from cl.config import Config
from cl.runs.prepare import Prepared

AVALANCHE, PEER, OURS = "Avalanche, padded to 128", "by hand, dynamic padding, fused AdamW", "cl"
FP32 = f"{AVALANCHE}, fp32"
STRENGTH, CAPACITY, LOOKED_AT = 1000.0, 200, 200
PARTS = ("train_seconds", "plugin_seconds", "evaluate_seconds", "save_seconds")
Sets = list[list[Text]]


def run(bench: Bench, report: Report) -> None:
    """A table of sentences, and one of reviews."""
    replay = {"capacity": CAPACITY, "batch_size": BATCH}
    plugins = {"ewc": {"strength": STRENGTH, "num_examples": LOOKED_AT}, "replay": replay}
    epochs = bench.size(2, 1)
    for stream in ("sentences",) if bench.quick else ("sentences", "reviews"):
        config, prepared = bench.prepare(stream, bench.size(160, 24), bench.size(120, 16), epochs)
        store = prepared.evaluator.store
        train, test = ([texts_of(store.dataset(e.index, name)) for e in prepared.stream] for name in ("train", "test"))
        model = Peer(bench.backbone, "sequence", store.views.width(-1, "sequence"), store.pad, bench.bf16)
        turns = {
            AVALANCHE: partial(_avalanche, model, train, test, epochs),
            PEER: partial(_by_hand, model, train, test, epochs),
            OURS: partial(_ours, strategy(config, **plugins), prepared),
        }
        others = {"Avalanche": AVALANCHE, "by hand": PEER}
        if bench.bf16:
            turns[FP32] = partial(_avalanche, in_fp32(model), train, test, epochs)
            others["Avalanche, fp32"] = FP32
        found = report.race(stream, race(turns, bench.rounds))
        rows: list[list] = [[name, found.median(name), *found.against(name, others)] for name in found]
        rows += [[f"cl, of that: {part}", found.median(OURS, part), *[""] * len(others)] for part in PARTS]
        title = f"A whole run, {stream}: {sum(map(len, train))} texts, {epochs} epochs, {bench.precision}"
        report.table(title, ["", "seconds", *(f"× {short}" for short in others)], rows)
        report.ratios(stream, found, OURS, others)


def _ours(config: Config, prepared: Prepared) -> Figures:
    started = time.perf_counter()
    cost = cell(config, prepared)
    return {"seconds": time.perf_counter() - started} | {part: sum(each[part] for each in cost) for part in PARTS}


def _avalanche(template: Peer, train: Sets, test: Sets, epochs: int) -> float:
    from avalanche.training.plugins import EWCPlugin, ReplayPlugin

    train_stream, test_stream = (avalanche_stream(sets, template.pad) for sets in (train, test))
    trainer = avalanche(deepcopy(template), [EWCPlugin(STRENGTH), ReplayPlugin(CAPACITY)], epochs)
    started = time.perf_counter()
    for experience in train_stream:
        trainer.train(experience)
        trainer.eval(test_stream)
    return time.perf_counter() - started


def _by_hand(template: Peer, train: Sets, test: Sets, epochs: int) -> float:
    """What one writes for oneself: a penalty for each old experience; squared gradients of batches for Fisher
    information, which is quicker than right; a list for a buffer.
    """
    model, draw = deepcopy(template), random.Random(0)
    memory: list[Text] = []
    penalties: list[list[tuple[Tensor, Tensor, Tensor]]] = []
    started = time.perf_counter()
    for texts in train:
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
        model.train()
        for ids, labels in (batch for _ in range(epochs) for batch in _mixed(texts, memory, model.pad, draw)):
            loss = cross_entropy(model(ids), labels)
            for penalty in penalties:
                loss = loss + STRENGTH / 2 * sum((f * (p - old) ** 2).sum() for p, old, f in penalty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        penalties.append(_penalty(model, texts[:LOOKED_AT]))
        memory = draw.sample(memory + texts, min(CAPACITY, len(memory + texts)))
        score(model, [dynamic(each, model.pad, 64, shuffle=False) for each in test])
    return time.perf_counter() - started


def _mixed(texts: list[Text], memory: list[Text], pad: int, draw: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    order = draw.sample(texts, len(texts))
    for start in range(0, len(order), BATCH):
        yield padded(order[start : start + BATCH] + draw.sample(memory, min(BATCH, len(memory))), pad)


def _penalty(model: Peer, texts: list[Text]) -> list[tuple[Tensor, Tensor, Tensor]]:
    model.eval()
    trained = [p for p in model.parameters() if p.grad is not None]
    fisher = [torch.zeros_like(p) for p in trained]
    for ids, labels in dynamic(texts, model.pad):
        gradients = torch.autograd.grad(cross_entropy(model(ids), labels), trained)
        for total, gradient in zip(fisher, gradients, strict=True):
            total += gradient**2 * BATCH / len(texts)
    return [(p, p.detach().clone(), f) for p, f in zip(trained, fisher, strict=True)]
