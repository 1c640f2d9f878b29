"""Virtual tokens: what PEFT makes of them, packed and padded; the text keeps its places."""

from __future__ import annotations

import copy
from functools import cache
from itertools import product
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from cl.config import NetworkConfig
from cl.models.adapters import adapted, read
from cl.models.backbone import Backbone, of_family
from cl.models.network import Network
from cl.models.options import Scratch
from cl.models.snapshot import frozen_copy, settle, snapshot
from cl.plugins.maths import per_example
from cl.runs import networks
from cl.testing.promises import PROMISES, Subject
from cl.testing.tiny import train
from cl.types import UserError

IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 0, 0], [3, 0, 0, 0]])
MASK = (IDS > 0).long()
REAL = MASK.bool()
PROMPT = {"kind": "prompt", "tokens": 3}
FAMILIES = ("llama", "qwen2", "qwen3", "gpt2", "bert")
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "prompt": (peft.PromptTuningConfig, {}),
    "p-tuning": (peft.PromptEncoderConfig, {"encoder_reparameterization_type": "LSTM"}),
    "prefix": (peft.PrefixTuningConfig, {}),
    "prefix projected": (peft.PrefixTuningConfig, {"prefix_projection": True}),
}


@cache
def base(family: str) -> Backbone:
    torch.manual_seed(0)
    size = Scratch(hidden=16, layers=2, heads=2, vocabulary=50)
    return of_family(family, size, max_position_embeddings=16, initializer_range=0.2)


def asked(kind: str) -> dict[str, Any]:
    return {"kind": kind.split()[0], "tokens": 3, **KINDS[kind][1]}


def built(family: str, **options: Any) -> Backbone:
    return adapted(base(family), read(options), 0).double().eval()


def trained_of(backbone: Backbone) -> list[Tensor]:
    return [p for p in backbone.model.parameters() if p.requires_grad]


def of_peft(family: str, kind: str, ours: Backbone, attention: str) -> Any:
    """PEFT's own model of the same weights."""
    model, (config, options) = copy.deepcopy(base(family).model), KINDS[kind]
    model.set_attn_implementation(attention)
    theirs: Any = peft.get_peft_model(model, config(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3, **options))
    theirs.prompt_encoder.default.load_state_dict(ours.model.virtual_tokens.encoder.state_dict())
    return theirs.double().eval()


def assert_close(one: Any, other: Any, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_gradients_are_those_of_peft(family: str, kind: str) -> None:
    ours = built(family, **asked(kind))
    theirs = of_peft(family, kind, ours, "sdpa")
    hidden = ours(IDS, MASK)[REAL]
    expected = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state[:, -IDS.shape[1] :][REAL]
    assert_close(hidden, expected)
    gradients = torch.autograd.grad(hidden.sin().sum(), trained_of(ours))
    of_theirs = list(theirs.prompt_encoder.default.parameters())
    assert_close(gradients, torch.autograd.grad(expected.sin().sum(), of_theirs))
    assert all(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("family", "kind"), [*product(("llama", "gpt2", "bert"), ("prompt", "prefix")), ("deberta-v2", "prompt")]
)
def test_maps_are_those_of_the_text_alone(family: str, kind: str) -> None:
    """Within the float32 of transformers' own softmax."""
    ours = built(family, **asked(kind))
    theirs = of_peft(family, kind, ours, "eager")(input_ids=IDS, attention_mask=MASK, output_attentions=True)
    ours.watch()
    hidden = ours(IDS, MASK)
    for maps, of_layer in zip(ours.unwatch(), theirs.attentions, strict=True):
        assert maps.shape[2:] == IDS.shape[1:] * 2
        text = of_layer[..., -IDS.shape[1] :, -IDS.shape[1] :]
        assert_close(maps.transpose(1, 2)[REAL], text.transpose(1, 2)[REAL], 1e-6)
    assert_close(hidden[REAL], ours(IDS, MASK)[REAL], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_and_padded_are_the_same(family: str, kind: str) -> None:
    ours = built(family, **asked(kind))
    types = (IDS > 6).long() * MASK if family == "bert" else None

    def found() -> tuple[Tensor, Any]:
        hidden = ours(IDS, MASK, types)[REAL]
        return hidden, torch.autograd.grad(hidden.sin().sum(), trained_of(ours))

    packed = found()
    with ours.padded():
        torch.testing.assert_close(packed, found(), rtol=1e-9, atol=1e-11)
    assert not torch.allclose(packed[0].float(), base(family).eval()(IDS, MASK, types)[REAL], atol=1e-3)


@pytest.mark.parametrize("kind", ["prompt", "p-tuning"])
def test_a_model_with_attention_of_its_own_takes_prompts_and_no_prefix(kind: str) -> None:
    ours = built("deberta-v2", **asked(kind))
    assert ours.first_position is None
    expected = of_peft("deberta-v2", kind, ours, "eager")(input_ids=IDS, attention_mask=MASK)
    assert_close(ours(IDS, MASK)[REAL], expected.last_hidden_state[:, 3:][REAL])
    with pytest.raises(UserError, match=r"DebertaV2Model with this adapter fails .its attention is its own.*another"):
        built("deberta-v2", kind="prefix")


def test_families_that_cannot_bear_a_prefix_take_prompts() -> None:
    for family, embedding in (("distilbert", {}), ("albert", {"embedding_size": 8})):
        torch.manual_seed(0)
        pristine = of_family(family, Scratch(hidden=16, layers=2, heads=2, vocabulary=50), **embedding)
        assert adapted(pristine, read(PROMPT), 0)(IDS, MASK).shape == (3, 4, 16)
        with pytest.raises(UserError, match=r"does not say which layer it is of.*Take another kind"):
            adapted(pristine, read({"kind": "prefix"}), 0)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_what_changes_embeddings_sees_the_text_alone(kind: str) -> None:
    ours, shapes = built("llama", **asked(kind)), []

    def change(embedded: Tensor) -> Tensor:
        shapes.append(embedded.shape[:2])
        return embedded

    with ours.embedding(change):
        ours(IDS, MASK)
    assert shapes == [IDS.shape]


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_every_layer_depends_on_what_trains(kind: str) -> None:
    ours = built("llama", **asked(kind))
    assert ours.first_trained_layer() == 0
    ours.freeze()
    assert ours.first_trained_layer() is None


@pytest.mark.parametrize("kind", KINDS)
def test_virtual_tokens_alone_train_in_float32_and_are_drawn_by_seed(kind: str) -> None:
    pristine = copy.deepcopy(base("llama"))
    pristine.model.to(torch.bfloat16)
    one, same, other = (adapted(pristine, read(asked(kind)), seed) for seed in (3, 3, 4))
    names = [name for name, p in one.model.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("virtual_tokens.") for name in names)
    assert {one.model.get_parameter(name).dtype for name in names} == {torch.float32}
    assert one(IDS, MASK).dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(trained_of(one), trained_of(same), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trained_of(one), trained_of(other), strict=True))


def test_a_checkpoint_and_a_teacher_hold_the_virtual_tokens_alone() -> None:
    network = Network(built("llama", **PROMPT))
    network.grow({"sequence": ("a", "b")}, torch.Generator())
    settle(network)
    assert [n for n in snapshot(network) if not n.startswith("heads.")] == [
        "backbone.model.virtual_tokens.encoder.embedding.weight"
    ]
    twin, own = frozen_copy(network), dict(network.named_parameters())
    assert all((p is own[name]) != (name in network.trained) for name, p in twin.named_parameters())


def test_texts_and_virtual_tokens_share_the_table_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.backbone, "load", lambda *_: (base("gpt2"), None))
    config = NetworkConfig(backbone="any", max_length=13, adapter=PROMPT)
    networks.build_backbone(config, [])
    config.max_length = 14
    with pytest.raises(UserError, match=r"adapter\.tokens is 3: with network\.max_length, 14, these are 17 tokens"):
        networks.build_backbone(config, [])
    config.backbone = "scratch"
    assert networks.build_backbone(config, [])[0].max_positions == 17


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"kind": "prompt", "layers": 1}, "prompt has no option 'layers'"),
    ({"kind": "prefix", "target": "q_proj"}, "prefix has no option 'target'"),
    ({"kind": "prompt", "tokens": 0}, r"tokens is 0: give 1 or more"),
    ({"kind": "prompt", "num_virtual_tokens": 5}, "Write 'tokens'"),
    ({"kind": "prompt", "token_dim": 5}, "no option 'token_dim'"),
    ({"kind": "prompt", "prompt_tuning_init": "VOCAB"}, "is 'VOCAB': give TEXT or SAMPLE_VOCAB or RANDOM"),
    ({"kind": "prompt", "prompt_tuning_init": "TEXT"}, "peft refuses it: When prompt_tuning_init='TEXT'"),
    ({"kind": "p-tuning", "encoder_num_layers": 3}, "does nothing here: give it with .*type=LSTM"),
    ({"kind": "prefix", "encoder_hidden_size": 3}, "does nothing here: give it with prefix_projection=True"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[str(each[0]) for each in MISTAKES])
def test_mistakes_are_told_in_a_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        built("llama", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "by_layer"), [("prompt", True), ("p-tuning", False), ("prefix projected", True)])
def test_fisher_of_virtual_tokens_is_that_of_single_examples(kind: str, by_layer: bool) -> None:
    """Though all examples share them. (Here p-tuning has an LSTM, which is no function of one example's tensor.)"""
    subject = Subject("finetune", {}, "llama", asked(kind))
    learner = train(subject.prepared("sequence"), subject.configured("sequence", max_epochs=1), 1).learner
    data = learner.store.dataset(0, "train")[:5]
    value, add = (lambda output: output.raw.square().sum(1)), per_example.add_square
    each = per_example.by_pass(learner.network, learner.tools.batches_of(data, 1), value, add)
    found = per_example.per_example(learner.tools, data, value, add)
    torch.testing.assert_close(found, each, rtol=1e-9, atol=1e-14)
    assert per_example._shares_passes[learner.network] is by_layer
    assert all(total.any() for name, total in each.items() if "heads" not in name)


@pytest.mark.parametrize(
    ("promise", "plugin", "kind"),
    [
        ("resume_inside_an_experience", "ewc", "prompt"),
        ("frozen_weights_are_not_stored", "lwf", "prefix"),
        ("resume_inside_an_experience", "replay", "prefix"),
        ("resume_inside_an_experience", "probe", "prompt"),
    ],
)
def test_promises_hold_with_virtual_tokens(promise: str, plugin: str, kind: str) -> None:
    PROMISES[promise][0](Subject.listed(plugin, "llama", {"kind": kind, "tokens": 3}), "sequence")


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_and_gradient_checkpointing_change_nothing_they_should_not(kind: str) -> None:
    ours = built("llama", **asked(kind)).train()
    hidden = ours(IDS, MASK)
    gradients = torch.autograd.grad(hidden.sin().sum(), trained_of(ours))
    ours.checkpoint_gradients()
    torch.testing.assert_close(torch.autograd.grad(ours(IDS, MASK).sin().sum(), trained_of(ours)), gradients)
    with torch.autocast("cpu", torch.bfloat16):
        assert adapted(base("llama"), read(asked(kind)), 0)(IDS, MASK).isfinite().all()
