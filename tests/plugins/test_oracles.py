"""Strategies against formulas that do not come from our code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import softmax

from cl.plugins.maths.losses import distillation
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, train

Get = Callable[[str], Prepared]


def test_distillation_is_the_written_out_kl() -> None:
    student, teacher, t = torch.randn(5, 4), torch.randn(5, 3), 2.0
    p, q = softmax(student[:, :3] / t, 1), softmax(teacher / t, 1)
    assert torch.allclose(distillation(student, teacher, t), t**2 * (q * (q / p).log()).sum(1), atol=1e-6)
    assert torch.allclose(distillation(teacher, teacher, t), torch.zeros(5), atol=1e-6)


def test_teacher_is_in_eval_mode_and_has_no_gradient(prepared: Get) -> None:
    end = train(prepared("mixed"), configured("mixed", {"lwf": {}}), num_experiences=1)
    teacher = end.learner.strategy.plugins["lwf"].teacher  # type: ignore[attr-defined]
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
