"""Adapters: what trains is what was asked for, on weights that no cell changes or copies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from cl.config import NetworkConfig
from cl.models.adapters import adapted, read
from cl.models.adapters.bottleneck import Bottleneck
from cl.models.backbone import Backbone
from cl.models.network import Network
from cl.models.snapshot import frozen_copy, settle, snapshot
from cl.plugins.maths import per_example
from cl.runs.networks import fresh_backbone, network_notes
from cl.testing.promises import PROMISES, Subject
from cl.testing.tiny import assert_same, fresh_learner, train
from cl.testing.watching import fit_and_save, go_on
from cl.types import UserError

SIZE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "initializer_range": 0.2,  # as much in a narrow model as 0.02 in a wide one: no gradient is lost in rounding
}
GPT2: dict[str, Any] = {"vocab_size": 50, "n_embd": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.2}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**SIZE, num_key_value_heads=1)),
    "qwen2": lambda: hf.Qwen2Model(hf.Qwen2Config(**SIZE, num_key_value_heads=1)),
    "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=8)),
    "gpt2": lambda: hf.GPT2Model(hf.GPT2Config(**GPT2, bos_token_id=1, eos_token_id=1)),
    "bert": lambda: hf.BertModel(hf.BertConfig(**SIZE)),
}
# A part of the names of all that trains.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "lora": ({"kind": "lora", "r": 2, "target": "all-linear"}, "lora_"),
    "dora": ({"kind": "lora", "r": 2, "use_dora": True}, "lora_"),
    "ia3": ({"kind": "ia3"}, "ia3_"),
    "ln-tuning": ({"kind": "ln-tuning"}, "ln_tuning_layers"),
    "bitfit": ({"kind": "bitfit"}, "bias"),
    "bottleneck": ({"kind": "bottleneck", "size": 16}, "bottleneck_"),
}
IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 0, 0]])
MASK = (IDS > 0).long()
LORA = {"kind": "lora", "r": 2, "alpha": 4, "target": "all-linear"}


def base(family: str, dtype: torch.dtype = torch.float32) -> Backbone:
    return loaded(family, dtype)


@cache
def loaded(family: str, dtype: torch.dtype) -> Backbone:
    torch.manual_seed(0)
    return Backbone(FAMILIES[family]().to(dtype))


def built(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> Backbone:
    return adapted(base(family, dtype), read(options), seed)


def trained_of(backbone: Backbone) -> dict[str, Tensor]:
    return {name: p for name, p in backbone.model.named_parameters() if p.requires_grad}


def stepped(backbone: Backbone) -> dict[str, Tensor]:
    """Its trained parameters before a step of training that is taken."""
    before = {name: p.detach().clone() for name, p in trained_of(backbone).items()}
    optimizer = torch.optim.SGD(trained_of(backbone).values(), lr=0.1)
    for _ in range(2):  # the first moves the matrices that begin at 0, the second the others
        optimizer.zero_grad()
        backbone(IDS, MASK).float().sin().sum().backward()
        optimizer.step()
    return before


ON = [*((family, torch.float32) for family in FAMILIES), ("llama", torch.bfloat16), ("bert", torch.bfloat16)]


@pytest.mark.parametrize(("family", "dtype"), ON)
@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_alone_trains_in_float32_over_any_base(kind: str, family: str, dtype: torch.dtype) -> None:
    """At first it changes nothing."""
    options, part = KINDS[kind]
    pristine = base(family, dtype)
    before = {name: p.detach().clone() for name, p in pristine.named_parameters()}
    own = built(family, dtype=dtype, **options)
    names = trained_of(own)
    if kind == "bitfit" and family in ("llama", "qwen3"):
        part = "norm"  # they have no biases
    assert names and all(part in name for name in names)
    assert {p.dtype for p in names.values()} == {torch.float32}
    hidden = own.eval()(IDS, MASK)
    assert hidden.dtype == dtype
    torch.testing.assert_close(hidden, pristine.eval()(IDS, MASK), rtol=0, atol=1e-5 if dtype == torch.float32 else 0.1)
    for name, old in stepped(own).items():
        assert not torch.equal(old, names[name]), f"{name} does not train"
    assert all(torch.equal(p, before[name]) for name, p in pristine.named_parameters())


def test_cells_share_the_memory_of_the_base_and_not_their_parameters() -> None:
    config, pristine = NetworkConfig(backbone="any", adapter=LORA), base("llama")
    one, other = (fresh_backbone(config, pristine, None, seed) for seed in (0, 1))
    for name, p in pristine.model.named_parameters():
        owner, _, own_name = name.rpartition(".")
        found = [b.model.get_submodule(owner) for b in (one, other)]
        weights = [getattr(getattr(m, "base_layer", m), own_name) for m in found]
        assert {w.data_ptr() for w in weights} == {p.data_ptr()} and all(w is not p for w in weights)
    one.double()  # as trainer.precision=64-true does
    assert {p.dtype for b in (other, pristine) for p in b.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_what_is_drawn(kind: str) -> None:
    torch.manual_seed(1)
    stands = torch.get_rng_state()
    one = trained_of(built("llama", 3, **KINDS[kind][0]))
    assert torch.equal(torch.get_rng_state(), stands)
    torch.manual_seed(2)
    same, other = (trained_of(built("llama", seed, **KINDS[kind][0])) for seed in (3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    draws = kind in ("lora", "dora", "bottleneck")
    assert draws != all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_and_a_teacher_hold_no_weight_of_the_base() -> None:
    network = Network(built("bert", **LORA))
    network.grow({"sequence": ("a", "b")}, torch.Generator())
    settle(network)
    assert {n for n in snapshot(network) if not n.startswith("heads.")} == {
        f"backbone.model.{n}" for n in trained_of(network.backbone)
    }
    twin, own = frozen_copy(network), dict(network.named_parameters())
    assert all((p is own[name]) != (name in network.trained) for name, p in twin.named_parameters())


def test_what_no_hidden_state_depends_on_is_frozen_and_told() -> None:
    own = built("bert", **LORA)
    assert not [name for name in trained_of(own) if "pooler" in name]
    assert own.facts.unused == {name for name, _ in own.model.named_parameters() if "pooler" in name}


@pytest.mark.parametrize(
    ("layers", "chosen"), [("1-2", {1, 2}), (1, {1}), (-2, {1, 2}), ([0, 2], {0, 2}), (None, {0, 1, 2})]
)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_choose_where(kind: str, layers: Any, chosen: set[int]) -> None:
    names = trained_of(built("llama", layers=layers, **KINDS[kind][0]))
    assert {int(name.split(".")[1]) for name in names if name.startswith("layers.")} == chosen
    assert layers is None or all(name.startswith("layers.") for name in names)


def test_no_graph_is_built_below_the_lowest_layer() -> None:
    own, seen = built("llama", layers=-1, **LORA), []
    for layer in own.model.layers:
        layer.register_forward_hook(lambda _, __, output: seen.append(output.requires_grad))
    own(IDS, MASK)
    assert seen == [False, False, True]


@pytest.mark.parametrize("options", [LORA, KINDS["dora"][0], {"kind": "ia3"}, {**LORA, "use_rslora": True}])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_forward_is_that_of_peft(family: str, options: dict[str, Any]) -> None:
    from peft import IA3Config, LoraConfig, get_peft_model

    own = built(family, **options).eval()
    for p in trained_of(own).values():
        p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    names = {"alpha": "lora_alpha", "target": "target_modules", "kind": ""}
    given = {names.get(key, key): value for key, value in options.items()}
    del given[""]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that GPT-2 stores its matrices transposed
        theirs = get_peft_model(
            FAMILIES[family](), (LoraConfig if options["kind"] == "lora" else IA3Config)(**given)
        ).eval()
    assert own.model.state_dict().keys() == theirs.base_model.model.state_dict().keys()
    theirs.base_model.model.load_state_dict(own.model.state_dict())
    expected = theirs(input_ids=IDS, attention_mask=MASK).last_hidden_state * MASK.unsqueeze(-1)
    torch.testing.assert_close(own(IDS, MASK) * MASK.unsqueeze(-1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("family", "block"), [("llama", "mlp"), ("bert", "output"), ("gpt2", "mlp")])
def test_a_bottleneck_is_its_formula(family: str, block: str) -> None:
    """H + W_up f(W_down h), Houlsby after both blocks of a layer, Pfeiffer after the second."""
    found = {
        placement: [
            n
            for n, m in built(family, kind="bottleneck", size=4, placement=placement).model.named_modules()
            if isinstance(m, Bottleneck)
        ]
        for placement in ("houlsby", "pfeiffer")
    }
    assert len(found["houlsby"]) == 6 and len(found["pfeiffer"]) == 3
    assert all(name.split(".")[-2] == block and "attention" not in name for name in found["pfeiffer"])
    layer = Bottleneck(nn.Linear(3, 3), 3, 2)
    for p in layer.parameters():
        nn.init.normal_(p)
    x, down, up = torch.randn(2, 3), layer.bottleneck_down, layer.bottleneck_up
    h = layer.base_layer(x)
    expected = h + (h @ down.weight.T + down.bias).clamp(min=0) @ up.weight.T + up.bias
    torch.testing.assert_close(layer(x), expected)


def test_biases_that_train_are_the_cells_own() -> None:
    own, pristine = built("bert", kind="bitfit"), base("bert")
    shared = {p.data_ptr() for p in pristine.parameters()}
    assert trained_of(own) and not any(p.data_ptr() in shared for p in trained_of(own).values())
    assert {
        name for name, _ in pristine.model.named_parameters() if name.endswith("bias") and "pooler" not in name
    } == {*trained_of(own)}


def test_what_a_user_should_hear_is_said() -> None:
    bitfit = NetworkConfig(backbone="any", adapter={"kind": "bitfit"})
    assert network_notes(bitfit, base("bert")) == []
    (note,) = network_notes(bitfit, base("llama"))
    assert "LlamaModel has no biases" in note and "norms" in note
    (note,) = network_notes(NetworkConfig(backbone="scratch", adapter=LORA), base("bert"))
    assert "the weights of a scratch backbone are random" in note
    (note,) = network_notes(NetworkConfig(backbone="any", adapter={"kind": "prompt"}), base("llama"))
    assert "of kind prompt has no export" in note


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"kind": "lorra"}, r"no kind 'lorra' of adapter\. Did you mean 'lora'"),
    ("llama", {"kind": "xyz"}, r"There are: lora, ia3, ln-tuning, bitfit, bottleneck, prompt, p-tuning, prefix"),
    ("llama", {"kind": "dora"}, r"Write {kind: lora, use_dora: true}"),
    ("llama", {"r": 8}, "kind is missing"),
    ("llama", {"kind": "lora", "r": 0}, r"network\.adapter\.r is 0: give 1 or more"),
    ("llama", {"kind": "lora", "r": "x"}, r"network\.adapter\.r is 'x': give a whole number"),
    ("llama", {"kind": "lora", "r": True}, r"network\.adapter\.r is True: give a whole number"),
    ("llama", {"kind": "lora", "dropout": -0.5}, r"dropout is -0\.5: give 0 to 1"),
    ("llama", {"kind": "lora", "use_dora": "yes"}, "use_dora is 'yes': give true or false"),
    ("llama", {"kind": "lora", "bias": "some"}, "bias is 'some': give none or all or lora_only"),
    ("llama", {"kind": "lora", "use_rslor": True}, "no option 'use_rslor'. Did you mean 'use_rslora'"),
    ("llama", {"kind": "lora", "target_modules": ["q_proj"]}, "no option 'target_modules'. Write 'target'"),
    ("llama", {"kind": "lora", "target": ["q_prj"]}, r"no module 'q_prj' to adapt\. .*There are: self_attn\.q_proj, "),
    ("llama", {"kind": "lora", "target": "("}, "not a regular expression"),
    ("llama", {"kind": "lora", "layers": "1-3"}, "layers is '1-3': the backbone has 3 layers, 0 to 2"),
    ("llama", {"kind": "lora", "layers": -4}, "the backbone has 3 layers"),
    ("llama", {"kind": "lora", "layers": "last 2"}, "give a number, a range such as 4-7"),
    ("llama", {"kind": "lora", "init_lora_weights": "eva"}, "it needs data beforehand"),
    (
        "llama",
        {"kind": "lora", "init_lora_weights": "olora"},
        "it rewrites the backbone's own weights",
    ),
    ("llama", {**LORA, "modules_to_save": ["norm"], "layers": -1}, "trains modules in all layers, and .*leave one of"),
    ("llama", {**LORA, "rank_pattern": {"q_prooj": 5}}, r"adapter\.rank_pattern: the backbone has no module 'q_prooj'"),
    (
        "llama",
        {**LORA, "alpha_pattern": {"q_prooj": 5}},
        r"alpha_pattern: the backbone has no module 'q_prooj'",
    ),
    ("llama", {**LORA, "exclude_modules": ["q_proj"]}, "lora has no option 'exclude_modules'"),
    ("llama", {**LORA, "trainable_token_indices": [5000]}, "peft refuses it: index 5000 is out of bounds"),
    ("llama", {"kind": "lora", "modules_to_save": ["nrm"]}, "no module 'nrm'. Did you mean 'norm'"),
    ("llama", {"kind": "lora", "use_dora": True, "lora_bias": True}, "peft refuses it: .*not supported for DoRA"),
    ("llama", {"kind": "bottleneck", "size": 0}, "size is 0: give 1 or more"),
    ("bert", {"kind": "lora", "target": "pooler.dense"}, "no hidden state depends on what it adapts"),
]


@pytest.mark.parametrize(("family", "options", "message"), MISTAKES, ids=[str(each[1]) for each in MISTAKES])
def test_mistakes_are_told_in_a_line(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        built(family, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("init", [True, False, "gaussian", "pissa", "orthogonal"])
def test_no_initial_value_changes_the_base_of_other_cells(init: bool | str) -> None:
    torch.manual_seed(0)
    base = Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE)))
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    adapted(base, read({**LORA, "init_lora_weights": init}), 0)
    assert all(torch.equal(p, before[name]) for name, p in base.named_parameters())


@pytest.mark.parametrize("recomputes", [False, True])
def test_the_backward_pass_ends_at_the_lowest_adapted_layer(recomputes: bool) -> None:
    torch.manual_seed(0)
    network = adapted(Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE))), read({**LORA, "layers": -1}), 0).train()
    if recomputes:  # transformers lets the embeddings' output need a gradient then
        network.checkpoint_gradients()
    assert network.first_trained_layer() == len(network.layers) - 1


def test_a_family_that_cannot_bear_a_kind() -> None:
    distilbert = hf.DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    torch.manual_seed(0)
    albert = Backbone(hf.AlbertModel(hf.AlbertConfig(**SIZE, embedding_size=8)))
    with pytest.raises(UserError, match="peft does not say which modules of a distilbert to adapt: give target"):
        adapted(Backbone(hf.DistilBertModel(distilbert)), read({"kind": "lora"}), 0)
    with pytest.raises(UserError, match="bottleneck does not know where the blocks of AlbertModel end"):
        adapted(albert, read({"kind": "bottleneck"}), 0)
    with pytest.raises(UserError, match="AlbertModel has no list of layers"):
        adapted(albert, read({**LORA, "layers": 0}), 0)


def test_whole_modules_in_half_precision_are_refused() -> None:
    """Peft's wrapper of them is lost where a network with float32 parameters over such a base is copied."""
    torch.manual_seed(0)
    narrow = Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE))).to(torch.bfloat16)
    with pytest.raises(UserError, match=r"modules_to_save: .* set network.dtype=float32, or leave it out"):
        adapted(narrow, read({**LORA, "modules_to_save": ["norm"]}), 0)


@pytest.mark.parametrize(("kind", "by_layer"), [("lora", True), ("bottleneck", True), ("dora", False), ("ia3", False)])
def test_fisher_of_adapters_is_that_of_single_examples(kind: str, by_layer: bool) -> None:
    """By layer where layers alone train; what else trains is seen by a try, and each example gets its own pass."""
    subject = Subject("finetune", {}, "llama", KINDS[kind][0])
    learner = train(subject.prepared("sequence"), subject.configured("sequence", max_epochs=1), 1).learner
    data = learner.store.dataset(0, "train")[:5]
    value, add = (lambda output: output.raw.square().sum(1)), per_example.add_square
    each = per_example.by_pass(learner.network, learner.tools.batches_of(data, 1), value, add)
    found = per_example.per_example(learner.tools, data, value, add)
    torch.testing.assert_close(found, each, rtol=1e-10, atol=1e-14)
    assert per_example._shares_passes[learner.network] is by_layer
    assert all(total.any() for name, total in each.items() if "lora_A" not in name and "heads" not in name)


def test_frozen_weights_are_not_stored() -> None:
    PROMISES["frozen_weights_are_not_stored"][0](Subject.listed("ewc", "llama", LORA), "sequence")


def test_a_run_over_a_base_of_half_precision_resumes_bit_for_bit() -> None:
    """Stopped inside its second experience; the base keeps its precision, and the adapter its own."""
    subject = Subject.listed("ewc", "llama", LORA)
    data, config = subject.prepared("sequence"), subject.configured("sequence", precision="32-true")
    data = replace(data, backbone=copy.deepcopy(data.backbone).bfloat16())
    straight, stopped = train(data, config, 2), train(data, config, 1).learner
    stopped.begin(data.stream[1])
    _, saved = fit_and_save(stopped, config, every_steps=2)
    resumed = fresh_learner(config, data)
    go_on(resumed, config, saved[0])
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert {p.dtype for p in resumed.network.base().values()} == {torch.bfloat16}
    assert {p.dtype for p in resumed.network.parameters() if p.requires_grad} == {torch.float32}


def test_a_probe_leaves_the_adapter_as_it_came() -> None:
    subject = Subject("probe", {}, "llama", LORA)
    learner = train(subject.prepared("sequence"), subject.configured("sequence", max_epochs=1), 2).learner
    assert not trained_of(learner.network.backbone)
    assert not any(p.any() for name, p in learner.network.named_parameters() if "lora_B" in name)
