"""Networks: heads that grow, one mask, no parameter without a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from cl.data.collate import collate
from cl.models import backbone
from cl.models.backbone import Backbone
from cl.models.network import MASKED, Network, pool, pooling_of
from cl.models.options import Scratch
from cl.models.readouts import Linear
from cl.models.snapshot import frozen_copy, restored_copy
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured
from cl.types import UserError


def test_a_head_keeps_old_columns_as_it_grows() -> None:
    head, features = Linear(4), torch.randn(3, 4)
    head.grow("abcde"[:2], torch.Generator().manual_seed(0))
    assert head.bias is not None
    head.bias.data += torch.tensor([0.3, -0.2])
    before = head(features)
    head.grow("abcde", torch.Generator().manual_seed(1))
    assert head.num_columns == 5
    assert torch.allclose(head(features)[:, :2], before)  # a product of another width may add up in another order
    rows = head.weight.detach().clone()
    head.grow("abcde", torch.Generator().manual_seed(2))
    assert torch.equal(head.weight, rows)
    with pytest.raises(ValueError, match="neither go nor move"):
        head.grow("abcd", torch.Generator())
    with pytest.raises(ValueError, match="neither go nor move"):
        head.grow("bacdef", torch.Generator())


def test_new_rows_are_small_and_differ() -> None:
    head = Linear(500)
    head.grow([str(i) for i in range(20)], torch.Generator().manual_seed(0))
    rows = head.weight.detach()
    assert float(rows.std()) == pytest.approx(0.02, rel=0.05)
    assert float(rows.mean()) == pytest.approx(0.0, abs=0.001)
    assert rows.std(dim=0).min() > 0.005
    assert head.bias is not None and not head.bias.any()


def test_growth_keeps_a_frozen_head_frozen() -> None:
    head = Linear(4).requires_grad_(False)
    head.grow("abcde"[:2], torch.Generator())
    assert not any(p.requires_grad for p in head.parameters())


def test_an_earlier_state_brings_its_width_and_names() -> None:
    wide, narrow = Linear(4), Linear(4)
    wide.grow("abcde", torch.Generator().manual_seed(0))
    narrow.grow("ab", torch.Generator().manual_seed(1))
    wide.load_state_dict(narrow.state_dict())
    assert torch.equal(narrow.weight, wide.weight)
    assert wide.names == narrow.names == ("a", "b")


def test_logits_are_float32_under_autocast() -> None:
    head = Linear(4)
    head.grow("abcde"[:3], torch.Generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_pooling_ignores_padding() -> None:
    hidden, mask = torch.randn(1, 4, 3), torch.tensor([[1, 1, 0, 0]])
    assert torch.allclose(pool(hidden, mask, "mean"), hidden[:, :2].mean(1))
    assert torch.equal(pool(hidden, mask, "first"), hidden[:, 0])
    assert torch.equal(pool(hidden, mask, "last"), hidden[:, 1])


def test_the_pooling_of_a_decoder_is_its_last_token() -> None:
    size = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    decoder = Backbone(hf.LlamaModel(hf.LlamaConfig(**size, intermediate_size=16)))
    encoder = Backbone(hf.BertModel(hf.BertConfig(**size, intermediate_size=16)))
    assert (pooling_of("auto", decoder), pooling_of("auto", encoder)) == ("last", "mean")
    assert (pooling_of("mean", decoder), pooling_of("first", encoder)) == ("mean", "first")
    with pytest.raises(UserError, match=r"network.pooling is first, .* set network.pooling to last or mean"):
        pooling_of("first", decoder)


def test_weights_of_another_precision_than_the_heads_keep_theirs() -> None:
    size = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    network = Network(Backbone(hf.LlamaModel(hf.LlamaConfig(**size, intermediate_size=16)).bfloat16()))
    network.grow({"sequence": ("a", "b")}, torch.Generator())
    network.take_dtype({"heads.sequence.weight": torch.zeros(2, 16)})
    assert {p.dtype for p in network.backbone.parameters()} == {torch.bfloat16}
    network.take_dtype({"heads.sequence.weight": torch.zeros(2, 16).double()})  # trainer.precision was 64-true
    assert {p.dtype for p in network.parameters()} == {torch.float64}


def test_every_trainable_parameter_has_a_gradient_whatever_the_kind(prepared: Callable[[str], Prepared]) -> None:
    data = prepared("mixed")
    learner = build_learner(configured("mixed", {}), data, "tested", 0)
    for experience in data.stream:
        learner.begin(experience)
    batch = collate(data.evaluator.store.dataset(0, "train"), 3, training=True)  # sequences alone
    sum(output.logits.sum() for output in learner.network(batch).values()).backward()
    without = [name for name, p in learner.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_masked_classes_have_no_probability(prepared: Callable[[str], Prepared]) -> None:
    assert torch.tensor([1.0, MASKED]).softmax(0).tolist() == [1.0, 0.0]


def test_a_teacher_from_a_state_is_the_teacher(prepared: Callable[[str], Prepared]) -> None:
    """Also where the network has grown kinds and columns since."""
    data = prepared("mixed")
    learner = build_learner(configured("mixed", {}), data, "tested", 0)
    learner.begin(data.stream[0])
    teacher = frozen_copy(learner.network)
    for experience in data.stream:
        learner.begin(experience)
    restored = restored_copy(learner.network, teacher.state_dict())
    assert list(restored.heads) == ["sequence"]
    assert not restored.training
    batch = collate(data.evaluator.store.dataset(0, "test"), 3, training=False)
    assert torch.equal(restored(batch)["sequence"].logits, teacher(batch)["sequence"].logits)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"network.backbone: the folder {tmp_path} does not load"):
        backbone.load(str(tmp_path))


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """A backbone in that folder, and its weights."""
    tokenizer = backbone.word_pieces(["some text"], 50)
    backbone.scratch(Scratch(hidden=16, layers=1, heads=2), tokenizer, 24).model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1"])
def test_weights_that_are_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="does not load as a transformers model and tokenizer: Error while deserial"):
        backbone.load(str(tmp_path))


def test_weights_that_are_missing_are_not_random(tmp_path: Path) -> None:
    """Transformers fills them in and says so in a table; here a pooler alone may be missing, which nothing reads."""
    weights = saved(tmp_path)
    backbone.load(str(tmp_path))
    some = {name: weight for name, weight in weights.items() if "attention" not in name}
    other = {f"model.encoder.{name}": weight for name, weight in weights.items()}
    for wrong, number in ((some, len(weights) - len(some)), (other, len(weights))):
        save_file(wrong, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=f"lack {number} weights of a BertModel, such as e"):
            backbone.load(str(tmp_path))
    whole = {f"bert.{name}": weight for name, weight in weights.items()}  # as saved with a head
    save_file(whole, tmp_path / "model.safetensors", metadata={"format": "pt"})
    backbone.load(str(tmp_path))


def test_a_pooler_that_nothing_depends_on_is_frozen() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    loaded = backbone.Backbone(BertModel(config))
    frozen = {name for name, p in loaded.named_parameters() if not p.requires_grad}
    assert frozen == {"model.pooler.dense.weight", "model.pooler.dense.bias"}


@pytest.mark.parametrize("dropout", [0.0, 0.35])
def test_dropout_reaches_every_rate(prepared: Callable[[str], Prepared], dropout: float) -> None:
    config = configured("token", {})
    config.network = replace(config.network, dropout=dropout)
    network = build_learner(config, prepared("token"), "tested", 0).network
    rates = {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {dropout}
    assert network.backbone.model.config.attention_probs_dropout_prob == dropout


def test_a_frozen_backbone_has_no_dropout(prepared: Callable[[str], Prepared]) -> None:
    network = build_learner(configured("token", {}), prepared("token"), "tested", 0).network.train()
    network.backbone.freeze()
    assert not any(module.training for module in network.backbone.modules())
    assert not any(module.training for module in network.train().backbone.modules())
    assert network.dropout.training


def test_word_pieces_are_a_function_of_the_texts() -> None:
    texts = ["Bali is warm", "is Bali warm", "cold"]
    first, second = (backbone.word_pieces(texts, 100).get_vocab() for _ in range(2))
    assert first == second
    assert backbone.word_pieces(texts, 100).tokenize("Balis") == ["Bali", "##s"]
