"""The others: a bare PyTorch loop, the HF Trainer and Avalanche, on the same encoded examples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from texts import LENGTH, Text, padded
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoModelForTokenClassification

BATCH, RATE = 16, 5e-5
Batches = Iterable[tuple[Tensor, Tensor]]


class Peer(nn.Module):
    """Ids `[B, L]` → logits `[B, C]` of texts, or `[B, C, L]` of their tokens, as `cross_entropy` takes them.

    One tensor goes in, because Avalanche moves, stores and replays tensors, not mappings of them: attention is kept
    from the padding token, which no text holds. With `labels` it answers what the HF Trainer asks for.
    """

    def __init__(self, backbone: str, kind: str, num_labels: int, pad: int, bf16: bool) -> None:
        super().__init__()
        self.kind, self.pad, self.bf16 = kind, pad, bf16
        if kind == "token":
            self.model = AutoModelForTokenClassification.from_pretrained(
                backbone, num_labels=num_labels, dtype=torch.float32
            )
        else:
            self.model = AutoModel.from_pretrained(backbone, dtype=torch.float32)
            self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(self.model.config.hidden_size, num_labels))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        """Logits; with `labels` a mapping of loss and logits."""
        mask = (input_ids != self.pad).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output = self.model(input_ids=input_ids, attention_mask=mask)
            if self.kind == "token":
                logits = output.logits.transpose(1, 2)
            else:
                real = mask.unsqueeze(-1)
                logits = self.head((output.last_hidden_state * real).sum(1) / real.sum(1))
        logits = logits.float()
        return logits if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


def in_fp32(model: Peer) -> Peer:
    """A copy that computes without autocast."""
    copy = deepcopy(model)
    copy.bf16 = False
    return copy


def fixed(texts: list[Text], pad: int) -> Batches:
    """Random batches of tensors that were padded to LENGTH before."""
    return DataLoader(TensorDataset(*padded(texts, pad, LENGTH)), BATCH, shuffle=True)


def dynamic(texts: list[Text], pad: int, batch_size: int = BATCH, shuffle: bool = True) -> Batches:
    """Batches padded to their longest text as they are made; random ones, unless told otherwise."""
    return DataLoader(texts, batch_size, shuffle=shuffle, collate_fn=lambda batch: padded(batch, pad))


def whole(work: Callable[[], object]) -> float:
    """Seconds of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare(model: nn.Module, batches: Batches, fused: bool | None = None) -> float:
    """Seconds of a plain loop over `batches`."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=fused)
    started = time.perf_counter()
    for ids, labels in batches:
        loss = cross_entropy(model(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def hf_trainer(model: Peer, texts: list[Text]) -> float:
    """Seconds of its loop over one epoch, without what surrounds it; its defaults where nothing is said."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.started

    def collate(batch: list[Text]) -> dict[str, Tensor]:
        return dict(zip(("input_ids", "labels"), padded(batch, model.pad), strict=True))

    with tempfile.TemporaryDirectory() as folder:
        sizes: dict[str, Any] = {"per_device_train_batch_size": BATCH, "num_train_epochs": 1, "bf16": model.bf16}
        quiet: dict[str, Any] = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
        ours = {"use_cpu": True, "remove_unused_columns": False, "dataloader_pin_memory": False}
        arguments, watch = TrainingArguments(folder, **sizes, **quiet, **ours), Watch()
        trainer = Trainer(model, arguments, train_dataset=texts, data_collator=collate, callbacks=[watch])
        trainer.log = lambda *_, **__: None  # it would print
        trainer.train()
    return watch.seconds


def avalanche(model: nn.Module, plugins: Iterable[Any] = (), epochs: int = 1) -> Any:
    """Its `Naive` with some plugins, without metrics and loggers."""
    from avalanche.training.supervised import Naive

    sizes = {"train_mb_size": BATCH, "train_epochs": epochs, "eval_mb_size": 64}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    return Naive(
        model=model, optimizer=optimizer, criterion=cross_entropy, plugins=list(plugins), evaluator=None, **sizes
    )


def avalanche_stream(experiences: list[list[Text]], pad: int) -> Any:
    """Experiences of tensors padded to LENGTH."""
    from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
    from avalanche.benchmarks.utils.data import AvalancheDataset

    datasets = [AvalancheDataset([TensorDataset(*padded(texts, pad, LENGTH))]) for texts in experiences]
    return benchmark_from_datasets(train=datasets).train_stream


def naive(model: Peer, texts: list[Text]) -> float:
    """Seconds of Avalanche's finetuning on one experience; its strategy outlives experiences, and is made before."""
    (experience,) = avalanche_stream([texts], model.pad)
    trainer = avalanche(model)
    return whole(lambda: trainer.train(experience))
