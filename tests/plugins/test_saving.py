"""A plugin's state on its way through a file: it comes back as it was, or is refused by name."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cl.models.network import Network
from cl.plugins.base import Plugin, PluginError, stored_bytes
from cl.plugins.saving import VALUE, WHAT, packed, unpacked
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, train
from cl.testing.watching import through_a_file

Get = Callable[[str], Prepared]


@dataclass
class Part:
    """A dataclass that others hold."""

    name: str
    values: Tensor
    parts: list[Part] = field(default_factory=list)
    by_key: dict[Any, Any] = field(default_factory=dict)
    counted: int = field(init=False, default=0)


@dataclass(frozen=True)
class Frozen:
    """It does not let itself be changed."""

    value: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.value)


class Outer:
    """Holds a dataclass in its body."""

    @dataclass
    class Inner:
        """At the top of a module still, by its path."""

        value: Any = 1


class Pair(NamedTuple):
    """A tuple with a name, which a file would lose."""

    a: int
    b: int


@dataclass
class Keeping(Plugin):
    """State of any kind."""

    state: Any = field(init=False, default=None)


def there_and_back(value: Any, network: Network | None = None) -> Any:
    plugin, fresh = Keeping(), Keeping()
    plugin.state = value
    learner: Any = type("Learner", (), {"network": network})
    fresh.load_state_dict(learner, through_a_file(plugin.state_dict()))
    return fresh.state


def assert_equal(a: Any, b: Any) -> None:
    """The same values in the same types, in the same order."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    elif is_dataclass(a):
        for each in fields(a):
            assert_equal(getattr(a, each.name), getattr(b, each.name))
    else:
        assert a == b


def nested() -> Part:
    inner = Part("inner", torch.arange(3), by_key={0: torch.ones(2), (1, "x"): [Part("leaf", torch.zeros(1))]})
    inner.counted = 7
    return Part("outer", torch.ones(2, dtype=torch.bool), [inner, Part("other", torch.zeros(0))], {"network": inner})


VALUES = {
    "nothing": None,
    "plain": [True, 3, -0.5, 1j, "text", b"bytes", torch.float16, torch.device("cpu"), torch.Size([2, 3])],
    "tensors": {"a": torch.rand(2, 3), "b": [torch.tensor(3), (torch.ones(1), None)], "c": torch.tensor([True])},
    "int keys": {0: 1, 5: {7: torch.ones(2)}, -1: []},
    "mixed keys": {"0": "text", 0: "number", None: 1, 2.5: 2, ("a", 1): 3, (): 4},
    "dict in the form of a network": {"network": torch.ones(2)},
    "dict in the form of what is packed": {WHAT: "network", VALUE: {"x": torch.ones(1)}},
    "the same, deeper": [{WHAT: {WHAT: 1}}, {VALUE: 3}],
    "empty": [[], (), {}, [{}], ""],
    "tuples": ((1, 2), [(3,)], {"x": (4, [5])}),
    "nested dataclasses": nested(),
    "dataclasses in lists": [nested(), nested()],
    "dataclasses in dicts": {3: nested(), "x": {(1, 2): (Frozen(4),)}},
    "frozen": Frozen(21),
    "in a class": [Outer.Inner(torch.ones(1)), Outer.Inner(Outer.Inner())],
}


@pytest.mark.parametrize("what", VALUES)
def test_state_comes_back_as_it_was(what: str) -> None:
    assert_equal(there_and_back(VALUES[what]), VALUES[what])


def test_a_dataclass_comes_back_without_its_checks() -> None:
    """What had been counted since it was made is not counted anew."""
    part = Part("x", torch.ones(1))
    part.counted = 3
    assert there_and_back(part).counted == 3
    assert there_and_back({"a": Frozen(2)})["a"].twice == 4


def test_networks_come_back_frozen(prepared: Get) -> None:
    """Wherever they stand in the state, each with weights of its own; beside a dict with a key of that name."""
    learner = train(prepared("mixed"), configured("mixed", {}, max_steps=1), num_experiences=3).learner
    network = learner.network
    other = train(prepared("mixed"), configured("mixed", {}, max_steps=1), num_experiences=3, seed=1).learner.network
    found = there_and_back({"network": other, "others": [network, {"x": (other,)}], "alone": {"network": 3}}, network)
    assert found["alone"] == {"network": 3}
    for copy, original in (
        (found["network"], other),
        (found["others"][0], network),
        (found["others"][1]["x"][0], other),
    ):
        assert isinstance(copy, Network) and copy is not original and copy is not network
        assert not copy.training and not any(p.requires_grad for p in copy.parameters())
        for name, value in original.state_dict().items():
            assert torch.equal(copy.state_dict()[name], value)


def test_a_network_that_had_fewer_columns_comes_back(prepared: Get) -> None:
    """A teacher of an earlier experience, into a learner that has grown since."""
    data, config = prepared("token"), configured("token", {}, max_steps=1)
    earlier = train(data, config, num_experiences=1).learner.network
    now = train(data, config, num_experiences=3).learner.network
    copy = there_and_back([earlier], now)[0]
    assert copy.head("token").num_columns == earlier.head("token").num_columns < now.head("token").num_columns


def local() -> Any:
    @dataclass
    class Local:
        value: int = 1

    return Local()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1, 2}, "a set cannot be saved: state is made of tensors, plain values, dicts"),
        (Path("x"), "PosixPath cannot be saved"),
        (np.ones(2), "a ndarray cannot be saved"),
        (np.float64(1.0), "a float64 cannot be saved"),
        (nn.Linear(1, 1), "a Linear cannot be saved"),
        (torch.Generator(), "a Generator cannot be saved"),
        (lambda: 1, "a function cannot be saved"),
        (Part, "a type cannot be saved"),
        (object(), "a object cannot be saved"),
        (Pair(1, 2), "a Pair cannot be saved"),
        (defaultdict(list), "a defaultdict cannot be saved"),
        (OrderedDict(a=1), "a OrderedDict cannot be saved"),
        ({Path("x"): 1}, r"a dict with the key PosixPath('x') cannot be saved: keys are plain values"),
        ({Frozen(1): 1}, "a dict with the key Frozen(value=1"),
        ({((1,),): 1}, "a dict with the key ((1,),) cannot be saved"),
        (local(), "local.<locals>.Local cannot be saved: it must stand at the top of a module"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_would_not_come_back_is_refused_by_name(value: Any, why: str) -> None:
    """At the first saving, wherever it stands: with the plugin's and the field's names."""
    for state in (value, [value], {"a": (value,)}, Part("x", torch.ones(1), [], {"b": value})):
        plugin = Keeping()
        plugin.state = state
        with pytest.raises(PluginError, match=re.escape(why)) as error:
            plugin.state_dict()
        assert str(error.value).startswith("Keeping.state: ")


def test_a_checkpoint_of_a_dataclass_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    state = through_a_file({"state": packed(Outer.Inner(3))})
    monkeypatch.delattr(Outer, "Inner")
    with pytest.raises(LookupError, match=r"the checkpoint holds a .*:Outer.Inner, and there is no such dataclass"):
        unpacked(state["state"], None)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["os:system", "pathlib:Path", "antigravity:X", "builtins:dict"])
def test_a_checkpoint_makes_nothing_but_dataclasses_that_are_there(path: str) -> None:
    """It imports no module and calls nothing else."""
    with pytest.raises(LookupError, match="no such dataclass"):
        unpacked({WHAT: path, VALUE: {}}, None)  # type: ignore[arg-type]
    assert "antigravity" not in sys.modules


def test_bytes_of_packed_state_are_counted() -> None:
    plugin = Keeping()
    plugin.state = [nested(), {"network": torch.ones(4)}]
    # int64 [3], float32 [2], float32 [1], bool [2], and the same by the key `network` again; float32 [4]
    assert stored_bytes(plugin.state_dict()) == 2 * (24 + 8 + 4) + 2 + 16
