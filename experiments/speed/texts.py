"""The streams, as `cl` reads and encodes them, and the same examples for those who train without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.config import Config, NetworkConfig, RunConfig, StreamConfig, WandbConfig
from cl.config.trainer import DEFAULTS
from cl.data.collate import collate
from cl.data.dataset import Dataset
from cl.runs.prepare import Prepared, prepare

LENGTH = 128  # tokens: where texts are cut, and what the padded contenders pad to
Text = tuple[Tensor, Tensor]  # token ids, and the label or one a token (−100 where there is none)

FILES = {"train": "train.txt", "valid": "dev.txt", "test": "test.txt"}
CONLL = {"root": "conll2003_bio", "corpora": [{"name": "conll", "kind": "token", "format": "columns", **FILES}]}
FDU = {"kind": "sequence", "format": "tsv", "text": 1, "label": 0, "undecodable": "replace", "skip_empty": True}
AMAZON, IMDB, YELP = (
    {"name": name, "kind": "sequence", "format": "tsv", "text": 0, "label": 1, "train": f"{file}_labelled.txt"}
    for name, file in (("amazon", "amazon_cells"), ("imdb", "imdb"), ("yelp", "yelp"))
)
STREAMS: dict[str, dict[str, Any]] = {
    # one experience
    "token": CONLL,
    "sequence": {"root": "sent_labelled", "corpora": [AMAZON]},
    # two
    "types": CONLL | {"scenario": "class", "classes_per_experience": 1, "order": ["person", "location"]},
    "domains": {"root": "sent_labelled", "corpora": [AMAZON, YELP]},
    # five: there are three domains of sentences, so two of them come twice; most reviews are longer than LENGTH
    "sentences": {
        "root": "sent_labelled",
        "corpora": [AMAZON, IMDB, YELP, AMAZON | {"name": "amazon again"}, IMDB | {"name": "imdb again"}],
    },
    "reviews": {
        "root": "fdu_mtl",
        "drop_overlap": True,
        "defaults": FDU,
        "corpora": [
            {"name": name, "train": f"{name}.task.train", "test": f"{name}.task.test"}
            for name in ("books", "dvd", "kitchen_housewares", "apparel", "imdb")
        ],
    },
}


class Absent(Exception):
    """Data that a section needs is not there."""


@dataclass(frozen=True)
class Bench:
    """What the command line asks for."""

    backbone: str
    data: Path | None
    rounds: int
    precision: str
    quick: bool

    @property
    def bf16(self) -> bool:
        """Whether everyone computes under autocast to bfloat16."""
        return self.precision == "bf16-mixed"

    def size(self, full: int, quick: int) -> int:
        """A number, or the smaller one where a quick look is enough."""
        return quick if self.quick else full

    def plain(self, epochs: int = 1) -> Config:
        """Finetuning on the built-in stream."""
        return Config(
            run=RunConfig(dir="", checkpoint_steps=10**9),  # none inside an experience
            network=NetworkConfig(backbone=self.backbone, max_length=LENGTH),
            strategies={"contender": {}},
            trainer=DEFAULTS | {"accelerator": "cpu", "max_epochs": epochs, "precision": self.precision},
            wandb=WandbConfig(mode="disabled"),
        )

    def prepare(self, stream: str, train: int, test: int = 2, epochs: int = 1) -> tuple[Config, Prepared]:
        """Finetuning on a stream with at most so many examples of a split an experience; and that stream, encoded."""
        options = {"scenario": "domain", "limit": {"train": train, "valid": 1, "test": test}} | STREAMS[stream]
        if self.data is None or not (root := self.data / options["root"]).is_dir():
            raise Absent(f"no folder {options['root']} in the data folder (--data or CL_DATA)")
        config = replace(self.plain(epochs), stream=StreamConfig(**options | {"root": str(root)}))
        return config, prepare(config)


def strategy(config: Config, **plugins: dict[str, Any]) -> Config:
    """The same question for another strategy."""
    return replace(config, strategies={"contender": plugins})


def texts_of(data: Dataset, learnt: int = 0) -> list[Text]:
    """The examples that `cl` trains on, in the order of the data."""
    batch = collate(data, learnt, training=True)
    ids, lengths = batch.input_ids, batch.attention_mask.sum(1).tolist()
    if len(batch.targets.get("sequence", ())):
        return [(row[:n], label) for row, label, n in zip(ids, batch.targets["sequence"].labels, lengths, strict=True)]
    targets, labels = batch.targets["token"], torch.full_like(ids, -100)
    labels[targets.rows, targets.positions] = targets.labels
    return [(row[:n], label[:n]) for row, label, n in zip(ids, labels, lengths, strict=True)]


def padded(texts: list[Text], pad: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Ids `[B, L]` and labels `[B]` or `[B, L]`, to the longest text or to `length`."""
    ids, labels = zip(*texts, strict=True)
    length = max(map(len, ids)) if length is None else length

    def stacked(rows: tuple[Tensor, ...], fill: int) -> Tensor:
        whole = torch.full((len(rows), length), fill)
        for i, row in enumerate(rows):
            whole[i, : len(row)] = row
        return whole

    return stacked(ids, pad), stacked(labels, -100) if labels[0].ndim else torch.stack(labels)
