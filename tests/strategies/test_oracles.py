"""Strategies against formulas that do not come from our code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import log_softmax, softmax

from cl.build import Prepared
from cl.data.collate import collate
from cl.strategies.functional import distillation, parameters_of, per_example_fisher
from cl.strategies.quadratic import Quadratic
from cl.testing.tiny import configured, train

Get = Callable[[str], Prepared]


def test_distillation_is_the_written_out_kl() -> None:
    student, teacher, t = torch.randn(5, 4), torch.randn(5, 3), 2.0
    p, q = softmax(student[:, :3] / t, 1), softmax(teacher / t, 1)
    assert torch.allclose(distillation(student, teacher, t), t**2 * (q * (q / p).log()).sum(1), atol=1e-6)
    assert torch.allclose(distillation(teacher, teacher, t), torch.zeros(5), atol=1e-6)


def test_merged_quadratic_is_the_sum_of_its_parts() -> None:
    merged, parts = Quadratic(), []
    for rows in (2, 2, 4):  # the head grows
        f, x = torch.rand(rows, 3, dtype=torch.double), torch.randn(rows, 3, dtype=torch.double)
        f[0, 0] = 0.0
        merged.add({"w": f}, {"w": x})
        parts.append((f, x))
    w = torch.randn(5, 3, dtype=torch.double, requires_grad=True)
    separate = sum((f * (w[: len(f)] - x) ** 2).sum() for f, x in parts)
    assert torch.allclose(merged({"w": w}), separate)
    (a,), (b,) = torch.autograd.grad(merged({"w": w}), w), torch.autograd.grad(separate, w)
    assert torch.allclose(a, b)


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_fisher_of_the_head_has_a_closed_form(prepared: Get, stream: str) -> None:
    """For logits W h + b the gradient of Σ log p is Σ (1[y] − p) hᵀ: squared by example, then summed."""
    data = prepared(stream)
    end = train(data, configured(stream, {}), num_experiences=1)
    network, store = end.learner.network.eval(), data.evaluator.store
    examples = store.dataset(0, "train")[:7]
    fisher = per_example_fisher(network, (collate(examples[i : i + 1], 0, training=False) for i in range(7)))
    expected = torch.zeros_like(network.head(stream).weight)  # type: ignore[arg-type]
    for i in range(7):
        output = network(collate(examples[i : i + 1], 0, training=False))[stream]  # type: ignore[index]
        p = softmax(output.logits, 1)
        error = torch.nn.functional.one_hot(output.targets.labels, p.shape[1]) - p
        expected += (error.T @ output.features) ** 2
    assert torch.allclose(fisher[f"heads.{stream}.weight"], expected)


def test_fisher_of_a_batch_is_not_the_squared_batch_gradient(prepared: Get) -> None:
    data = prepared("sequence")
    end = train(data, configured("sequence", {}), num_experiences=1)
    network = end.learner.network.eval()
    examples = data.evaluator.store.dataset(0, "train")[:8]
    fisher = per_example_fisher(network, (collate(examples[i : i + 1], 0, training=False) for i in range(8)))
    batch = collate(examples, 0, training=False)
    logits, labels = network(batch)["sequence"].logits, batch.targets["sequence"].labels
    mean = -log_softmax(logits, 1)[torch.arange(8), labels].mean()
    gradients = torch.autograd.grad(mean, list(parameters_of(network).values()))
    squared = sum(float((g**2).sum()) for g in gradients)
    assert squared < 0.7 * sum(float(f.sum()) for f in fisher.values()) / 8


def test_teacher_is_in_eval_mode_and_has_no_gradient(prepared: Get) -> None:
    end = train(prepared("mixed"), configured("mixed", {"lwf": {}}), num_experiences=1)
    teacher = end.learner.strategy.plugins["lwf"].teacher  # type: ignore[attr-defined]
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_ewc_pulls_towards_the_old_parameters(prepared: Get) -> None:
    data = prepared("sequence")
    moved = []
    for strength in (0.0, 1e3, 1e6):
        end = train(data, configured("sequence", {"ewc": {"strength": strength, "num_examples": 0}}), num_experiences=2)
        penalty = end.learner.strategy.plugins["ewc"].penalty  # type: ignore[attr-defined]
        first = train(data, configured("sequence", {}), num_experiences=1)
        moved.append(
            sum(float(((a - b) ** 2).sum()) for a, b in zip(first.weights.values(), end.weights.values(), strict=True))
        )
        assert penalty.curvature
    assert moved[0] > moved[1] > moved[2]
