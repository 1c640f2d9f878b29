"""An adapted cell leaves as a folder that peft loads in a process without `cl`, and answers there as here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor

import cl.runs.grid
from cl.config import RunConfig
from cl.models.adapters import adapted, export_adapter, merged, read
from cl.models.backbone import Backbone, Head, export, load, word_pieces
from cl.models.backbone.classifier import Classifier
from cl.runs.export import export as export_cell
from cl.runs.grid import run
from cl.runs.predict import Predictor
from cl.runs.restored import restored
from cl.testing.tiny import tiny_config
from cl.types import Kind, UserError

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
TOKENIZER = word_pieces(["we met Ann Lee in Rome", "so good so bad"], 100)
TEXTS = ["we met Ann", "so good so bad in Rome"]
KINDS: list[Kind] = ["sequence", "token"]
LORA = {"kind": "lora", "r": 2, "target": "all-linear"}
OUTSIDE = """
import sys
from pathlib import Path
import torch, peft, transformers
from transformers import AutoTokenizer

for folder in sorted(Path(sys.argv[1]).iterdir()):
    form, kind = folder.name.split("-")
    task = "TokenClassification" if kind == "token" else "SequenceClassification"
    library, auto = (peft, "AutoPeftModelFor") if form == "adapter" else (transformers, "AutoModelFor")
    trusted = {"trust_remote_code": True} if kind == "sequence" else {}
    model = getattr(library, auto + task).from_pretrained(folder, **trusted).eval()
    batch = AutoTokenizer.from_pretrained(folder)(sys.argv[2:], padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        logits = model(**batch).logits
    torch.save({"logits": logits, "names": list(model.config.id2label.values())}, folder / "said.pt")
assert "cl" not in sys.modules
"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder as a hub holds it: with a head for generating text."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "llama"
    model = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=len(TOKENIZER), num_key_value_heads=1, **SIZES))
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def perturbed(backbone: Backbone, **options: Any) -> Backbone:
    """With an adapter that has learnt something."""
    own = adapted(backbone, read(options or LORA), 0).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for p in own.parameters():
            if p.requires_grad:
                p += 0.3 * torch.randn_like(p)
    return own


def head_of(kind: Kind, cosine: bool = False) -> Head:
    torch.manual_seed(2)
    bias, scale = (None, torch.tensor(3.0)) if cosine else (torch.randn(3), None)
    return Head(kind, "last", torch.randn(3, 16), bias, scale, ("a", "b", "c"), False)


@pytest.fixture(scope="module")
def cell(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of both kinds, with LoRA."""
    folder = tmp_path_factory.mktemp("runs") / "lora"
    config = tiny_config("mixed", run=RunConfig(dir=str(folder)), seeds=[0])
    config.trainer |= {"precision": "32-true", "max_epochs": 1}
    config.evaluate = replace(config.evaluate, predictions=True)
    config.training = replace(config.training, learning_rate=0.05)
    config.network = replace(config.network, backbone=str(llama), adapter=dict(LORA), max_length=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cl.runs.grid, "write_report", lambda cells, folder: folder / "report.html")
        run(config)
    return folder / "finetune" / "seed0"


@pytest.fixture(scope="module")
def exported(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cell in both forms, for both kinds, loaded by a process of its own."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in KINDS:
        export_cell(cell, folder / f"adapter-{kind}", kind=kind)
        export_cell(cell, folder / f"merged-{kind}", kind=kind, merged=True)
    outside = tmp_path_factory.mktemp("outside")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(outside), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", OUTSIDE, str(folder), *TEXTS]
    done = subprocess.run(command, env=environment, cwd=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("form", ["adapter", "merged"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_names_are_those_of_the_cell(cell: Path, exported: Path, kind: Kind, form: str) -> None:
    found = restored(cell)
    network = found.learner.network
    batch = found.encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask: Tensor = batch["attention_mask"]
    with torch.no_grad():
        hidden = network.backbone(batch["input_ids"], mask)
        if kind == "sequence":
            hidden = hidden[torch.arange(2), mask.sum(1) - 1]
        ours = network.head(kind)(hidden)
    said = torch.load(exported / f"{form}-{kind}" / "said.pt")
    theirs = said["logits"]
    if kind == "token":
        ours, theirs = ours[mask.bool()], theirs[mask.bool()]
    assert said["names"] == list(network.classes[kind])
    assert any(p.abs().max() > 1e-3 for n, p in network.named_parameters() if "lora_B" in n)
    rounding = (0.0, 1e-6) if form == "adapter" else (1e-5, 1e-5)  # merged weights are rounded once more
    torch.testing.assert_close(theirs, ours, rtol=rounding[0], atol=rounding[1])


def test_the_adapter_is_small_and_leans_on_the_files_of_its_base(exported: Path, llama: Path) -> None:
    folder = exported / "adapter-token"
    assert (folder / "base" / "model.safetensors").resolve() == (llama / "model.safetensors").resolve()
    names = [*load_file(folder / "adapter_model.safetensors")]
    assert all("lora_" in name or "score" in name for name in names)
    text = (folder / "README.md").read_text()
    assert "AutoPeftModelForTokenClassification" in text and "trust_remote_code" not in text
    assert "trust_remote_code" in (exported / "adapter-sequence" / "README.md").read_text()
    assert "AutoPeft" not in (exported / "merged-token" / "README.md").read_text()


def test_an_adapted_cell_answers(cell: Path) -> None:
    (answer,) = Predictor(cell, kind="sequence")(["so good"])
    assert answer["label"] in restored(cell).learner.network.classes["sequence"]


def test_a_base_that_changed_or_went_is_named(cell: Path, llama: Path, tmp_path: Path) -> None:
    kept = shutil.copytree(llama, tmp_path / "kept")
    try:
        weights = load_file(llama / "model.safetensors")
        weights["model.norm.weight"] = weights["model.norm.weight"] + 1
        save_file(weights, llama / "model.safetensors", {"format": "pt"})
        with pytest.raises(
            UserError, match=rf"holds an adapter alone, for the backbone {llama}: the weights .* are oth"
        ):
            restored(cell)
        shutil.rmtree(llama)
        with pytest.raises(UserError, match=rf"holds an adapter alone, for the backbone {llama}: .*there is no folder"):
            restored(cell)
    finally:
        shutil.copytree(kept, llama, dirs_exist_ok=True)


FORMS: list[tuple[dict[str, Any], str, str, Kind, bool]] = [
    ({"kind": "ia3"}, "auto", "float32", "token", False),
    ({"kind": "ln-tuning"}, "auto", "bfloat16", "token", False),
    ({"kind": "lora", "use_dora": True}, "bidirectional", "float32", "token", False),
    ({"kind": "lora", "modules_to_save": ["norm"]}, "bidirectional", "float32", "sequence", True),
]


@pytest.mark.parametrize(("options", "attention", "dtype", "kind", "cosine"), FORMS)
def test_what_is_written_is_loaded_and_tried(
    llama: Path, tmp_path: Path, options: Any, attention: Any, dtype: Any, kind: Kind, cosine: bool
) -> None:
    """Cells in half precision round their base: it is written whole, since no file has these weights."""
    before = (llama / "model.safetensors").read_bytes()
    backbone, tokenizer = load(str(llama), attention=attention, dtype=dtype)
    own, head = perturbed(backbone, **options), head_of(kind, cosine)
    assert export_adapter(tmp_path / "peft", own, tokenizer, 16, head, llama) == (kind == "token")
    assert (tmp_path / "peft" / "base" / "model.safetensors").is_symlink() == (dtype == "float32")
    assert (llama / "model.safetensors").read_bytes() == before
    whole = merged(own, torch.float32)
    assert not [name for name, _ in whole.model.named_parameters() if "base_layer" in name or "lora_" in name]
    assert export(tmp_path / "whole", whole, tokenizer, 16, head) == (kind == "token")


def test_what_peft_does_not_restore_is_refused(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of weights that do not fit are loaded in silence."""
    from peft import PeftModel

    def saved(self: Any, folder: Path, **options: Any) -> None:
        save(self, folder, **options)
        file = folder / "adapter_model.safetensors"
        save_file({name.replace("lora_", "lore_"): w for name, w in load_file(file).items()}, file)

    save = PeftModel.save_pretrained
    monkeypatch.setattr(PeftModel, "save_pretrained", saved)
    backbone, tokenizer = load(str(llama))
    with pytest.raises(UserError, match="gives other logits once it is loaded"):
        export_adapter(tmp_path / "out", perturbed(backbone), tokenizer, 16, head_of("token"), llama)


REFUSED: list[tuple[dict[str, Any], bool, str]] = [
    ({"adapter": {"kind": "bottleneck"}}, False, "has trained an adapter of kind bottleneck, which cl writes neither"),
    ({"adapter": {"kind": "bottleneck"}}, True, "has trained an adapter of kind bottleneck, which cl writes neither"),
    ({"attention": 1}, False, "network.attention is 1, and no class of transformers"),
    ({"adapter": {}}, True, "--merged: .* has trained no adapter"),
]


@pytest.mark.parametrize(("changes", "whole", "message"), REFUSED)
def test_forms_that_there_are_not(
    cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, whole: bool, message: str
) -> None:
    found = restored(cell)
    found.cell.config.network = replace(found.cell.config.network, **changes)
    monkeypatch.setattr("cl.runs.export.restored", lambda folder: found)
    with pytest.raises(UserError, match=message):
        export_cell(cell, tmp_path / "out", kind="token", merged=whole)
    assert not (tmp_path / "out").exists()


def test_a_refused_export_leaves_no_folder(cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        (tmp_path / "out/base").mkdir()
        raise UserError("it has no export")

    monkeypatch.setattr("cl.runs.export._write", refuse)
    with pytest.raises(UserError, match="it has no export"):
        export_cell(cell, tmp_path / "out", kind="token")
    assert not (tmp_path / "out").exists()


def test_our_own_class_computes_attention_as_the_cell_did() -> None:
    """Without fused kernels the first tokens of some decoders, which are huge, come out otherwise."""
    config = hf.LlamaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config.classifier = {"kind": "sequence", "pooling": "last", "head": "linear", "types": False}
    assert Classifier(config).config._attn_implementation == "sdpa"


def test_bitfit_changes_the_weights_themselves(llama: Path, tmp_path: Path) -> None:
    backbone, tokenizer = load(str(llama))
    own = perturbed(backbone, kind="bitfit")
    assert export(tmp_path / "out", merged(own, torch.float32), tokenizer, 16, head_of("token"))


def test_an_adapter_is_no_backbone(exported: Path) -> None:
    with pytest.raises(UserError, match=r"holds an adapter \(adapter_config.json\), which is no backbone.*--merged"):
        load(str(exported / "adapter-token"))
