"""On a GPU, or with CL_GPU_DRY=1 the same on the CPU: what `make gpu` runs beside the speed figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from cl.config import Config
from cl.runs.prepare import Prepared
from cl.testing.promises import Subject
from cl.testing.tiny import assert_same, configured, fresh_learner, train
from cl.testing.watching import fit_and_save, go_on

DRY = os.environ.get("CL_GPU_DRY") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (torch.cuda.is_available() or DRY), reason="no GPU here; CL_GPU_DRY=1 takes the CPU"),
]
SIX = ("ewc", "si", "replay", "lwf", "der++", "er-ace")
PRECISIONS = ("32-true", "bf16-mixed")
Get = Callable[[str], Prepared]


def on_gpu(name: str, precision: str, stream: str = "mixed", accumulate: int = 1, **trainer: Any) -> Config:
    place = {"accelerator": "cpu" if DRY else "gpu", "precision": precision, "deterministic": True}
    return configured(stream, Subject.listed(name).strategy(), accumulate, **(place | trainer))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SIX)
def test_a_run_learns_and_repeats(prepared: Get, name: str, precision: str) -> None:
    """With deterministic algorithms twice the same, bit for bit; and it has learnt something."""
    data = prepared("mixed")
    one, two = (train(data, on_gpu(name, precision)) for _ in range(2))
    assert_same(one.weights, two.weights)
    assert one.rows == two.rows
    assert all(weight.isfinite().all() for weight in one.weights.values())
    newest = one.rows[0][0]
    assert newest is not None and newest["score"] > 0.5


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SIX)
def test_a_run_goes_on_inside_an_experience_as_if_never_stopped(prepared: Get, name: str, precision: str) -> None:
    data, config = prepared("mixed"), on_gpu(name, precision)
    stopped = train(data, config, num_experiences=2).learner
    stopped.begin(data.stream[2])
    straight, saved = fit_and_save(stopped, config, every_steps=2)
    resumed = fresh_learner(config, data)
    found = go_on(resumed, config, saved[0])
    assert_same(stopped.network.state_dict(), resumed.network.state_dict())
    assert_same(stopped.strategy.state_dict(), resumed.strategy.state_dict())
    assert straight.row == found.row


@pytest.mark.parametrize("name", SIX)
def test_a_batch_may_be_dealt_out(prepared: Get, name: str) -> None:
    """In float32 three accumulated shares are one batch, to the rounding of one experience."""
    whole, dealt = (train(prepared("mixed"), on_gpu(name, "32-true", accumulate=n), 1) for n in (1, 3))
    assert_same(whole.weights, dealt.weights, 2e-3)


def test_one_rank_of_many_is_a_run_alone(prepared: Get) -> None:
    """DDP with one process: NCCL on a GPU, gloo on the CPU."""
    alone, ddp = (
        train(prepared("mixed"), on_gpu("replay", "32-true", strategy=strategy), 2) for strategy in ("auto", "ddp")
    )
    assert_same(alone.weights, ddp.weights, 1e-5)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-4), ("bf16-mixed", 5e-2)])
def test_packed_and_padded_agree(prepared: Get, precision: str, tolerance: float) -> None:
    config = replace(on_gpu("replay", precision, "token"))
    learner = train(prepared("token"), config, 1).learner
    network = learner.network.to("cpu" if DRY else "cuda").eval()
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    (batch, *_) = learner.tools.batches_of(learner.store.dataset(0, "test"), 16)
    outputs = []
    assert network.backbone.first_position is not None, "the tiny network packs"
    device = batch.input_ids.device.type
    for layout in (nullcontext(), network.backbone.padded()):
        with layout, torch.no_grad(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
            outputs.append(network(batch)["token"].logits.cpu())
    assert (outputs[0] - outputs[1]).abs().max() <= tolerance * outputs[1].abs().max()
