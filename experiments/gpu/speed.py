"""Training on one GPU against the HF Trainer and bare loops: networks with random weights, made-up texts, no download.

Each contender learns the same texts once, in batches of one size, after an untimed turn. `cl` is timed as it trains a
cell: with its sinks, and the loss read in each step.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from cl.config import Config, NetworkConfig, RunConfig
from cl.config.trainer import DEFAULTS
from cl.models.backbone import word_pieces
from cl.runs.learners import build_learner
from cl.runs.prepare import prepare
from cl.streams.scenarios import by_corpus
from cl.streams.stream import Stream
from cl.testing.tiny import fit
from cl.training.recipe import Training
from cl.types import Corpus, Examples

NETWORKS = {
    "MiniLM-size": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert-base-size": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
Text = tuple[Tensor, int]


@dataclass(frozen=True)
class Case:
    """One comparison: a network, and texts of about `words` words each."""

    network: str
    texts: str
    words: int
    max_length: int
    number: int
    batch_size: int


def cases(dry: bool) -> list[Case]:
    """Sentences and texts of 512 tokens, for each network."""
    if dry:
        return [
            Case(name, texts, words, 64, 24, 8)
            for name in NETWORKS
            for texts, words in (("sentences", 8), ("512 tokens", 80))
        ]
    return [
        case
        for name in NETWORKS
        for case in (Case(name, "sentences", 14, 128, 6400, 64), Case(name, "512 tokens", 700, 512, 640, 32))
    ]


def measure(case: Case, device: str, dry: bool, rounds: int) -> dict[str, Any]:
    """Seconds of each contender in each round, and what follows from them."""
    draw = random.Random(0)
    lengths = [max(3, round(draw.lognormvariate(0, 0.5) * case.words)) for _ in range(case.number)]
    texts = [" ".join(draw.choices(WORDS, k=length)) for length in lengths]
    labels = [f"class {draw.randrange(4)}" for _ in texts]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = word_pieces(WORDS, 4000)
        size = TINY if dry else NETWORKS[case.network]
        options: dict[str, Any] = {"vocab_size": len(tokenizer), "max_position_embeddings": 512, **size}
        torch.manual_seed(0)
        BertModel(BertConfig(**options), add_pooling_layer=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        encoded = tokenizer(texts, truncation=True, max_length=case.max_length)["input_ids"]
        data = [(torch.tensor(ids), int(label[-1])) for ids, label in zip(encoded, labels, strict=True)]
        contenders: dict[str, Callable[[], float]] = {
            "cl": lambda: ours(folder, case, texts, labels, device),
            "HF Trainer, dynamic padding": lambda: hf_trainer(folder, case, data, device),
            "bare loop, dynamic padding": lambda: bare(folder, case, data, device),
            "bare loop, loss read each step": lambda: bare(folder, case, data, device, read=True),
            "bare loop, flex attention": lambda: bare(folder, case, data, device, attention="flex_attention"),
            "bare loop, flash attention 2": lambda: bare(folder, case, data, device, attention="flash_attention_2"),
        }
        found, missing = _race(contenders, rounds, device)
        tokens = sum(len(ids) for ids, _ in data)
        work = _flops(options, [len(ids) for ids, _ in data])
    peak = _peak(device)
    rows = {
        name: {
            "seconds": turns,
            "tokens_per_second": tokens / min(turns),
            "share_of_peak": work / min(turns) / peak,
            "peak_memory_bytes": memory,
        }
        for name, (turns, memory) in found.items()
    }
    return {"case": vars(case), "tokens": tokens, "peak_flops": peak, "contenders": rows, "left_out": missing}


def ours(folder: str, case: Case, texts: list[str], labels: list[str], device: str) -> float:
    """Seconds of training in a cell of `cl`."""
    few = Examples(texts[:4], labels[:4])
    corpus = Corpus("made up", "sequence", {"train": Examples(texts, labels), "valid": few, "test": few})
    network = NetworkConfig(backbone=folder, max_length=case.max_length)
    config = Config(
        run=RunConfig(dir=str(Path(folder, "run"))),
        network=network,
        strategies={"finetune": {}},
        training=Training(batch_size=case.batch_size),
        trainer=DEFAULTS | {"accelerator": device, "max_epochs": 1, "precision": "bf16-mixed"},
    )
    prepared = prepare(config, Stream(by_corpus([corpus])))
    learner = build_learner(config, prepared, "finetune", 0)
    learner.begin(prepared.stream[0])
    return fit(learner, config).cost.train_seconds


def hf_trainer(folder: str, case: Case, data: list[Text], device: str) -> float:
    """Seconds of its loop over one epoch; its defaults where nothing is said."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = _now(device)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds = _now(device) - self.started

    def collate(batch: list[Text]) -> dict[str, Tensor]:
        ids, mask, labels = padded(batch)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        str(Path(folder, "hf")),
        per_device_train_batch_size=case.batch_size,
        num_train_epochs=1,
        bf16=True,
        use_cpu=device == "cpu",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    watch = Watch()
    trainer = Trainer(_model(folder), arguments, train_dataset=data, data_collator=collate, callbacks=[watch])
    trainer.log = lambda *_, **__: None  # it would print
    trainer.train()
    return watch.seconds


def bare(
    folder: str, case: Case, data: list[Text], device: str, read: bool = False, attention: str | None = None
) -> float:
    """Seconds of a plain loop in bfloat16 with a fused AdamW; `read`: it waits for each loss."""
    model = _model(folder, attention).to(_torch_name(device)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    batches = DataLoader(data, case.batch_size, shuffle=True, collate_fn=padded, pin_memory=device != "cpu")
    started = _now(device)
    for batch in batches:
        ids, mask, labels = (tensor.to(_torch_name(device), non_blocking=True) for tensor in batch)
        with torch.autocast(_torch_name(device), torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if read:
            loss.item()
    return _now(device) - started


def padded(batch: list[Text]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, their mask and labels, padded to the longest of a batch; token 0 is padding."""
    ids = pad_sequence([ids for ids, _ in batch], batch_first=True)
    return ids, (ids != 0).long(), torch.tensor([label for _, label in batch])


def _model(folder: str, attention: str | None = None) -> nn.Module:
    options: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4, **options)
    return model


def _race(
    contenders: dict[str, Callable[[], float]], rounds: int, device: str
) -> tuple[dict[str, tuple[list[float], int]], dict[str, str]]:
    """Seconds in each round and peak memory of each; why others were left out."""
    missing, memory = {}, {}
    for name, run in contenders.items():  # an untimed turn
        try:
            memory[name] = _memory_of(run, device)
        except (
            Exception
        ) as error:  # an attention that is not installed, or not made for this device: said, and left out
            if name == "cl":
                raise
            missing[name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    turns: dict[str, list[float]] = {name: [] for name in memory}
    for _ in range(rounds):
        for name in turns:
            gc.collect()
            turns[name].append(contenders[name]())
    return {name: (seconds, memory[name]) for name, seconds in turns.items()}, missing


def _memory_of(run: Callable[[], float], device: str) -> int:
    if device == "cpu":
        run()
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated()


def _flops(options: dict[str, Any], lengths: list[int]) -> float:
    """Of a forward and a backward pass over real tokens: two operations a weight and token, and attention."""
    width, layers, inner = options["hidden_size"], options["num_hidden_layers"], options["intermediate_size"]
    weights = layers * (4 * width**2 + 2 * width * inner)
    attention = 4 * width * layers * sum(length**2 for length in lengths)
    return 3.0 * (2 * weights * sum(lengths) + attention)


def _peak(device: str) -> float:
    """Operations a second of a large product of matrices in bfloat16: the best of ten."""
    size = 512 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=_torch_name(device)) for _ in range(2))

    def turns() -> Iterator[float]:
        for _ in range(10):
            started = _now(device)
            torch.mm(a, b)
            yield _now(device) - started

    return 2 * size**3 / min(turns())


def _torch_name(device: str) -> str:
    return "cpu" if device == "cpu" else "cuda"


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()
