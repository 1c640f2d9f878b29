"""Seeds together: one after another with all threads, at once with a share of them, or stacked into one network."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from peers import BATCH, RATE, whole
from texts import Bench
from timing import Report, race
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, BertConfig

from cl.config import Config, NetworkConfig, StreamConfig, ToyConfig, to_yaml
from cl.models.options import Scratch

CORES = len(os.sched_getaffinity(0))
SEEDS = list(range(min(4, max(2, CORES))))
IN_TURN, AT_ONCE, STACKED = "one after another", "at once, a process each", "stacked by vmap"
TINY = Scratch(hidden=64, layers=2, heads=2, vocabulary=1000)
LONG = 16  # tokens of a text in bare steps


def run(bench: Bench, report: Report) -> None:
    """A table of whole commands, and one of bare steps."""
    toy = ToyConfig(domains=3, types=0, num_train=bench.size(640, 160), num_test=100)
    network = NetworkConfig(max_length=64, scratch=TINY)
    tiny = replace(bench.plain(epochs=3), stream=StreamConfig(toy=toy), network=network)
    backbone, _ = bench.prepare("sentences", bench.size(96, 24), bench.size(60, 10))
    rows: list[list] = []
    for name, config in (("tiny network", tiny), ("the backbone", backbone)):
        turns = {way: partial(_commands, config, way == AT_ONCE) for way in (IN_TURN, AT_ONCE)}
        found = report.race(f"commands, {name}", race(turns, bench.rounds))
        ratio = report.ratio(f"{name}: at once", found.times(IN_TURN, AT_ONCE))
        rows.append([name, found.median(IN_TURN), found.median(AT_ONCE), ratio])
    columns = ["", f"{IN_TURN}, s", f"{AT_ONCE}, s", "× as fast at once"]
    report.table(f"{len(SEEDS)} seeds, whole commands with their imports, {CORES} cores", columns, rows)

    sizes = {"hidden_size": TINY.hidden, "num_hidden_layers": TINY.layers, "num_attention_heads": TINY.heads}
    sizes |= {"intermediate_size": 4 * TINY.hidden, "vocab_size": TINY.vocabulary}
    architectures = {"tiny network": BertConfig(**sizes), "the backbone": AutoConfig.from_pretrained(bench.backbone)}
    rows = []
    for name, architecture in architectures.items():
        ours, inputs = _Networks(architecture), _inputs(architecture.vocab_size)
        turns = {IN_TURN: partial(ours.in_turn, *inputs), STACKED: partial(ours.stacked, *inputs)}
        found = report.race(f"steps, {name}", race(turns, 5 * bench.rounds))
        ratio = report.ratio(f"{name}: stacked", found.times(IN_TURN, STACKED))
        rows.append([name, 1000 * found.median(IN_TURN), 1000 * found.median(STACKED), ratio])
    columns = ["", f"{IN_TURN}, ms", "stacked, ms", "× as fast stacked"]
    report.table(f"A bare step of {len(SEEDS)} networks on {BATCH} texts of {LONG} tokens", columns, rows)


def _commands(config: Config, at_once: bool) -> float:
    """Seconds of `cl run` for all seeds, or of one command for each, side by side."""
    groups = [[seed] for seed in SEEDS] if at_once else [SEEDS]
    threads = {"OMP_NUM_THREADS": str(max(1, CORES // len(groups)))}
    with tempfile.TemporaryDirectory() as folder:
        for group in groups:
            own = replace(config, seeds=group, run=replace(config.run, dir=f"{folder}/runs{group[0]}"))
            Path(folder, f"{group[0]}.yaml").write_text(to_yaml(own), encoding="utf-8")

        def work() -> None:
            commands = [[sys.executable, "-m", "cl", "run", f"{folder}/{group[0]}.yaml"] for group in groups]
            started = [subprocess.Popen(c, env=os.environ | threads, stdout=subprocess.DEVNULL) for c in commands]
            codes = [process.wait() for process in started]
            if any(codes):
                raise RuntimeError("a run failed")

        return whole(work)


def _inputs(vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids `[S, B, L]` and labels `[S, B]`, other ones for each seed."""
    return torch.randint(vocabulary, (len(SEEDS), BATCH, LONG)), torch.randint(2, (len(SEEDS), BATCH))


class _Networks:
    """A network for each seed, with its optimizer; and the same as one network of stacked parameters."""

    def __init__(self, architecture: BertConfig) -> None:
        self.networks = [_Classifier(architecture) for _ in SEEDS]
        self.optimizers = [torch.optim.AdamW(n.parameters(), lr=RATE, fused=True) for n in self.networks]
        stacked, self.buffers = stack_module_state(self.networks)
        self.parameters = {name: nn.Parameter(p.detach().clone()) for name, p in stacked.items()}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=RATE, fused=True)
        self.empty = deepcopy(self.networks[0]).to("meta")

    def in_turn(self, ids: Tensor, labels: Tensor) -> float:
        """Seconds of a step of each."""

        def work() -> None:
            for network, optimizer, own_ids, own_labels in zip(
                self.networks, self.optimizers, ids, labels, strict=True
            ):
                optimizer.zero_grad()
                cross_entropy(network(own_ids), own_labels).backward()
                optimizer.step()

        return whole(work)

    def stacked(self, ids: Tensor, labels: Tensor) -> float:
        """Seconds of a step of all."""

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return cross_entropy(functional_call(self.empty, (parameters, buffers), (x,)), y)

        def work() -> None:
            self.optimizer.zero_grad()
            vmap(loss, randomness="different")(self.parameters, self.buffers, ids, labels).sum().backward()
            self.optimizer.step()

        return whole(work)


class _Classifier(nn.Module):
    def __init__(self, architecture: BertConfig) -> None:
        super().__init__()
        self.model = AutoModel.from_config(architecture, add_pooling_layer=False)
        self.head = nn.Linear(architecture.hidden_size, 2)

    def forward(self, ids: Tensor) -> Tensor:
        everything = torch.ones_like(ids, dtype=torch.bool)[:, None, None].expand(-1, 1, ids.shape[1], -1)
        return self.head(self.model(input_ids=ids, attention_mask=everything).last_hidden_state.mean(1))
