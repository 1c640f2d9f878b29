"""What every strategy promises on decoders with adapters too: their base is frozen, shared, and never stored."""

from __future__ import annotations

from typing import Any

import pytest

from cl.plugins import PLUGINS
from cl.testing import PROMISES, Subject

ADAPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("llama", {"r": 2, "target": "all-linear", "layers": -1}),  # the layer below is kept in memory
    "bottleneck": ("qwen2", {"size": 4}),
    "prompt": ("llama", {"tokens": 3}),
}
"""By kind: the tiny backbone, and options."""
# A teacher that calls every word O, as this tiny network does after its first entities, has nothing to teach.
MUTE = {("bottleneck", "selftrain", "it_does_something")}
QUICK = {
    ("lora", "ewc", "split_invariance"),
    ("lora", "der++", "resume_inside_an_experience"),
    ("bottleneck", "gem", "split_invariance"),
    ("bottleneck", "lwf", "resume_inside_an_experience"),
    ("prompt", "replay", "split_invariance"),
}
CASES = [
    (kind, name, promise)
    for kind in ADAPTED
    for name, plugin in PLUGINS.items()
    for promise, (_, streams) in PROMISES.items()
    if promise != "it_composes_or_is_refused" and "mixed" in streams and not plugin.adapter
    if (kind, name, promise) not in MUTE
]


@pytest.mark.parametrize(
    ("kind", "name", "promise"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_promise(kind: str, name: str, promise: str) -> None:
    backbone, options = ADAPTED[kind]
    PROMISES[promise][0](Subject.listed(name, backbone, {"kind": kind, **options}), "mixed")


def test_the_quick_ones_are_among_them() -> None:
    assert set(CASES) >= QUICK
