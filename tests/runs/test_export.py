"""What is exported gives the same logits in a process that knows transformers and not `cl`."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import Tensor

from cl.models.backbone import Backbone, Head, export, word_pieces
from cl.models.network import Network, pool
from cl.models.options import Pooling, ReadoutName
from cl.types import Kind, UserError

TOKENIZER = word_pieces(["we met Ann Lee in Rome", "so good so bad"], 100)
CASES: list[tuple[Kind, Pooling, ReadoutName]] = [
    *product(("sequence",), ("mean", "first"), ("linear", "cosine")),
    *product(("token",), ("mean",), ("linear", "cosine")),
]
TEXTS = ["we met Ann", "so good so bad in Rome"]
OUTSIDE = """
import sys
from pathlib import Path
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline

for folder in sorted(Path(sys.argv[1]).iterdir()):
    kind = folder.name.split("-")[0]
    auto = AutoModelForTokenClassification if kind == "token" else AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    batch = AutoTokenizer.from_pretrained(folder)(sys.argv[2:], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    task = "token-classification" if kind == "token" else "text-classification"
    answers = pipeline(task, model=str(folder), trust_remote_code=True)("we met Ann")
    label = answers[0].get("label", answers[0].get("entity"))
    torch.save({"logits": logits, "mask": batch["attention_mask"], "label": label}, folder / "said.pt")
assert "cl" not in sys.modules
"""


def random_network(kind: Kind, pooling: Pooling, head: ReadoutName) -> Network:
    """A small BERT, as a hub holds it: with a pooler, which nothing here reads."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = hf.BertModel(hf.BertConfig(vocab_size=len(TOKENIZER), max_position_embeddings=20, **sizes))
    network = Network(Backbone(model), pooling, 0.1, head).eval()
    names = ("O", "B-per", "I-per") if kind == "token" else ("bad", "good")
    network.grow({kind: names}, torch.Generator().manual_seed(1))
    readout = network.head(kind)
    readout.weight.data = torch.randn_like(readout.weight)
    if readout.bias is not None:
        readout.bias.data = torch.randn_like(readout.bias)
    return network


def head_of(network: Network, kind: Kind) -> Head:
    readout = network.head(kind)
    return Head(
        kind, network.pooling, readout.weight, readout.bias, getattr(readout, "scale", None), readout.names, False
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, loaded by a process of its own."""
    folder = tmp_path_factory.mktemp("exported")
    for kind, pooling, head in CASES:
        network = random_network(kind, pooling, head)
        native = export(folder / f"{kind}-{pooling}-{head}", network.backbone, TOKENIZER, 20, head_of(network, kind))
        assert native == ((kind, head) == ("token", "linear"))
    outside = tmp_path_factory.mktemp("outside")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(outside), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", OUTSIDE, str(folder), *TEXTS]
    done = subprocess.run(command, env=environment, cwd=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_logits_are_equal(exported: Path, case: tuple[Kind, Pooling, ReadoutName]) -> None:
    kind, pooling, _ = case
    network = random_network(*case)
    said = torch.load(exported / "-".join(case) / "said.pt")
    batch = TOKENIZER(TEXTS, padding=True, return_tensors="pt")
    mask: Tensor = batch["attention_mask"]
    with torch.no_grad():
        hidden = network.backbone(batch["input_ids"], mask)
        features = hidden if kind == "token" else pool(hidden, mask, pooling)
        ours = network.head(kind)(features)
    theirs = said["logits"]
    assert torch.equal(said["mask"], mask), "the tokenizer came along"
    if kind == "token":
        ours, theirs = ours[mask.bool()], theirs[mask.bool()]
    assert ours.std() > 0.1
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    assert said["label"] in network.head(kind).names


def test_code_lies_beside_what_transformers_has_no_class_for(exported: Path) -> None:
    with_code = {path.parent.name for path in exported.glob("*/modeling_classifier.py")}
    assert with_code == {"-".join(case) for case in CASES} - {"token-mean-linear"}


def test_code_of_others_is_refused(tmp_path: Path) -> None:
    class Config(hf.BertConfig):
        pass

    network = random_network("token", "mean", "linear")
    network.backbone.model.config.__class__ = Config
    with pytest.raises(UserError, match="not part of transformers"):
        export(tmp_path, network.backbone, TOKENIZER, 20, head_of(network, "token"))
