"""LoRA adapters over time: what earlier ones add stays, whatever trains after them, and leaves with an export."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cl.models.adapters import adapted, begin_anew, export_adapter, layers_with_earlier, merged, read
from cl.models.adapters.earlier import join
from cl.models.backbone import Backbone, Head, of_family, word_pieces
from cl.plugins.inc_lora import IncLoRA
from cl.plugins.o_lora import OLoRA
from cl.runs.needs import refuse_what_cannot_fit
from cl.testing.promises import Subject
from cl.testing.tiny import Scratch, assert_same, fresh_learner, train
from cl.testing.watching import fit_and_save, go_on
from cl.types import UserError

TOKENIZER = word_pieces(["we met Ann Lee in Rome"], 60)
IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 4, 3]])
LORA = {"kind": "lora", "r": 2, "alpha": 6, "target": "all-linear"}


def base(family: str = "llama") -> Backbone:
    torch.manual_seed(0)
    size = Scratch(hidden=16, layers=2, heads=2, vocabulary=len(TOKENIZER))
    return of_family(family, size, max_position_embeddings=16, initializer_range=0.2)


def built(family: str = "llama", **options: Any) -> Backbone:
    return adapted(base(family), read(LORA | options), 0).double().eval()


def learn(backbone: Backbone, seed: int) -> None:
    """Stands for an experience: the adapter has other numbers after it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (p for p in backbone.parameters() if p.requires_grad):
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.1)


def said(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = backbone(IDS, torch.ones_like(IDS))
    return hidden


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("rslora", [False, True])
def test_a_new_adapter_adds_nothing_at_first_and_earlier_ones_stay(family: str, rslora: bool) -> None:
    """What three adapters add is what their product of matrices says, each by itself."""
    backbone, plain = built(family, use_rslora=rslora), base(family).double().eval()
    deltas: dict[str, Tensor] = {}
    for seed in range(3):
        learn(backbone, seed)
        before = said(backbone)
        for name, layer in layers_with_earlier(backbone.model):
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            deltas[name] = deltas.get(name, 0) + layer.scaling["default"] * (b @ a).detach()
        begin_anew(backbone.model, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(said(backbone), before)
    for name, delta in deltas.items():
        weight = plain.model.get_submodule(name).weight
        weight.data += delta.T if family == "gpt2" else delta
    torch.testing.assert_close(said(backbone), said(plain))


def test_a_fresh_adapter_is_drawn_as_peft_draws_it() -> None:
    backbone = built()
    first = {name: layer.lora_A["default"].weight.clone() for name, layer in layers_with_earlier(backbone.model)}
    begin_anew(backbone.model, torch.Generator().manual_seed(1))
    for name, layer in layers_with_earlier(backbone.model):
        fresh, bound = layer.lora_A["default"].weight, first[name].shape[1] ** -0.5
        assert not torch.equal(fresh, first[name])
        for drawn in (fresh, first[name]):
            assert 0.7 * bound < drawn.abs().max() <= bound * (1 + 1e-6)
        assert not layer.lora_B["default"].weight.any()


def test_a_copy_has_its_own_earlier_adapters_and_a_state_brings_their_rank() -> None:
    backbone = built()
    for seed in range(2):
        learn(backbone, seed)
        begin_anew(backbone.model, torch.Generator().manual_seed(seed))
    twin, before = copy.deepcopy(backbone), said(backbone)
    learn(backbone, 2)
    begin_anew(backbone.model, torch.Generator())
    assert torch.equal(said(twin), before)
    assert not torch.allclose(said(backbone), before)
    for other in (backbone, built()):  # of a higher rank, and of none
        layers_with_earlier(other.model)
        other.load_state_dict(twin.state_dict())
        assert torch.equal(said(other), before)


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"lora_bias": True}, {"target": ["embed_tokens", "q_proj"]}, {"kind": "ia3"}]
)
def test_what_is_no_product_of_two_matrices_is_refused(options: dict[str, Any]) -> None:
    backbone = adapted(base(), read({"kind": "ia3"} if "kind" in options else LORA | options), 0)
    with pytest.raises(UserError, match=r"it needs (plain )?LoRA"):
        layers_with_earlier(backbone.model)


def test_an_adapter_that_does_not_train_stays() -> None:
    backbone = built()
    learn(backbone, 0)
    before = {name: p.clone() for name, p in backbone.named_parameters()}
    backbone.freeze()
    begin_anew(backbone.model, torch.Generator())
    assert all(torch.equal(p, before[name]) for name, p in backbone.named_parameters())


@pytest.mark.parametrize("rslora", [False, True])
def test_all_of_them_leave_as_one_adapter_or_merged(rslora: bool, tmp_path: Path) -> None:
    backbone = built(use_rslora=rslora).float()
    for seed in range(3):
        learn(backbone, seed)
        if seed < 2:
            begin_anew(backbone.model, torch.Generator().manual_seed(seed))
    joined = copy.deepcopy(backbone)
    join(joined.model)
    torch.testing.assert_close(said(joined), said(backbone))
    assert {layer.r["default"] for _, layer in layers_with_earlier(joined.model)} == {6}
    torch.testing.assert_close(said(merged(backbone, torch.float32)), said(backbone), rtol=1e-5, atol=1e-5)
    head = Head("token", "last", torch.randn(3, 16), torch.zeros(3), None, ("a", "b", "c"), False)
    export_adapter(tmp_path / "out", backbone, TOKENIZER, 16, head, None)  # it is loaded again, and must say the same


@pytest.mark.parametrize("form", ["paper", "code"])
def test_the_gradient_of_orthogonality_is_that_of_its_value(form: Any) -> None:
    """Against autograd, from the paper's formula, term by term of each earlier adapter."""
    subject = Subject.listed("o-lora")
    learner = train(subject.prepared("sequence"), subject.configured("sequence", {"form": form}), 3).learner
    plugin = OLoRA(orthogonality=0.7, form=form)
    model = learner.network.backbone.model
    gradients = {n: torch.zeros_like(p) for n, p in learner.network.named_parameters() if p.requires_grad}
    value = plugin.penalty(learner.tools, gradients)
    wanted, rank = torch.zeros((), dtype=torch.float64), 2
    for _, layer in layers_with_earlier(model):
        old, new = layer.earlier.down, layer.lora_A["default"].weight
        assert len(old) == 2 * rank
        for one in old.split(rank):
            overlap = one @ new.T
            wanted = wanted + 0.7 * (overlap.square() if form == "paper" else overlap.abs()).sum()
    assert value is not None
    torch.testing.assert_close(value, wanted.detach())
    own = {name: p for name, p in learner.network.named_parameters() if "lora_A" in name}
    expected = dict(zip(own, torch.autograd.grad(wanted, list(own.values())), strict=True))
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected.get(name, torch.zeros_like(gradient)))


def test_what_orthogonality_lowers_is_the_overlap() -> None:
    overlaps = []
    for strength in (0.0, 50.0):
        subject = Subject.listed("o-lora")
        config = subject.configured("sequence", {"orthogonality": strength})
        model = train(subject.prepared("sequence"), config, 2).learner.network.backbone.model
        pairs = [(layer.earlier.down, layer.lora_A["default"].weight) for _, layer in layers_with_earlier(model)]
        overlaps.append(sum(float((old @ new.T).square().sum().detach()) for old, new in pairs))
    assert overlaps[1] < 0.5 * overlaps[0]


def test_another_way_to_draw_adapters_is_refused() -> None:
    with pytest.raises(UserError, match=r"init_lora_weights is 'gaussian': leave it out"):
        layers_with_earlier(built(init_lora_weights="gaussian").model)


@pytest.mark.parametrize("teacher", ["lwf", "featdistill"])
def test_beside_a_teacher_it_resumes_inside_the_second_experience(teacher: str) -> None:
    """The teacher is of a time without earlier adapters."""
    subject = Subject.listed("inc-lora")
    data, config = subject.prepared("sequence"), subject.configured("sequence")
    config = replace(config, strategies={"tested": {"inc-lora": {}, teacher: {}}})
    straight = train(data, config, num_experiences=2)
    stopped = train(data, config, num_experiences=1).learner
    stopped.begin(data.stream[1])
    _, saved = fit_and_save(stopped, config, every_steps=2)
    resumed = fresh_learner(config, data)
    learnt = go_on(resumed, config, saved[0])
    assert_same(straight.weights, resumed.network.state_dict())
    assert straight.rows[-1] == learnt.row


def test_ranks_do_not_send_each_other_what_is_alike() -> None:
    subject = Subject.listed("inc-lora")
    learner = train(subject.prepared("sequence"), subject.configured("sequence"), 2).learner
    buffers = {name for name, _ in learner.named_buffers() if ".earlier." in name}
    assert buffers == set(learner._ddp_params_and_buffers_to_ignore) != set()


def test_what_it_keeps_is_told() -> None:
    """Of each earlier adapter its two matrices; and a form that it cannot keep is refused before anything trains."""
    subject = Subject.listed("inc-lora")
    learner = train(subject.prepared("sequence"), subject.configured("sequence"), 3).learner
    rank = [p for name, p in learner.network.named_parameters() if "lora_" in name]
    assert learner.strategy.stored(learner.tools) == 2 * sum(p.nbytes for p in rank)
    assert IncLoRA().copies(4) == 3
    config, data = subject.configured("sequence"), subject.prepared("sequence")
    config = replace(config, network=replace(config.network, adapter=LORA | {"use_dora": True}))
    with pytest.raises(UserError, match=r"plugin 'inc-lora': it needs plain LoRA"):
        refuse_what_cannot_fit(config, data.backbone, data.evaluator, ["tested"])
