"""The perturbation of FGM against one example at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cl.batches import Step
from cl.data.collate import collate
from cl.models.packing import Layout
from cl.plugins.fgm import FGM
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, train
from cl.training.learner import Learner

Get = Callable[[str], Prepared]


def passed(learner: Learner, start: int, stop: int, **options: Any) -> Step:
    batch = collate(learner.store.dataset(0, "train")[start:stop], 0, training=True, **options)
    return Step(learner.experience, batch, learner.network.eval()(batch))


def by_hand(learner: Learner, step: Step, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The summed loss of one example fed as embeddings, and its gradient by the embedded sequence `[L, E]`."""
    network, kind = learner.network, step.experience.kind
    table = network.backbone.model.embeddings.word_embeddings.weight.detach()
    embedded = table[step.batch.input_ids].requires_grad_()
    moved = embedded if shift is None else embedded + shift
    mask = step.batch.attention_mask
    model = network.backbone.model
    hidden = model(inputs_embeds=moved, attention_mask=mask, layout=Layout(mask.bool())).last_hidden_state
    targets = step.batch.targets[kind]
    features = hidden.mean(1) if kind == "sequence" else hidden[0, targets.positions]
    loss = cross_entropy(network.head(kind)(features), targets.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, embedded)
    return loss.detach(), gradient[0]


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_perturbation(prepared: Get, stream: str) -> None:
    """ε along the example's own gradient: of norm ε, none of it on padding, the same in any batch."""
    learner = train(prepared(stream), configured(stream, {}), num_experiences=1).learner
    fgm, step = FGM(epsilon=0.3), passed(learner, 0, 6)
    table = learner.network.backbone.model.embeddings.word_embeddings.weight.clone()
    r = fgm.perturbation(learner, step)  # type: ignore[arg-type]
    assert torch.allclose(r.flatten(1).norm(dim=1), torch.full((6,), 0.3, dtype=torch.double))
    assert len(set(step.batch.attention_mask.sum(1).tolist())) > 1
    for i in range(6):
        _, gradient = by_hand(learner, passed(learner, i, i + 1))
        assert torch.allclose(r[i, : len(gradient)], 0.3 * gradient / gradient.norm(), atol=1e-9)
        assert not r[i, len(gradient) :].any()
    assert torch.equal(learner.network.backbone.model.embeddings.word_embeddings.weight, table)


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_loss_is_the_mean_at_the_perturbed_embeddings(prepared: Get, stream: str) -> None:
    learner = train(prepared(stream), configured(stream, {}), num_experiences=1).learner
    step, total, clean, num_targets = passed(learner, 0, 6), 0.0, 0.0, 0
    for i in range(6):
        one = passed(learner, i, i + 1)
        before, gradient = by_hand(learner, one)
        after, _ = by_hand(learner, one, 0.3 * gradient / gradient.norm())
        total, clean = total + float(after), clean + float(before)
        num_targets += len(one.batch.targets[one.experience.kind])
    found = float(FGM(strength=2.0, epsilon=0.3).loss(learner, step))  # type: ignore[arg-type]
    assert found == pytest.approx(2.0 * total / num_targets)
    assert total > clean


def test_an_example_without_a_target_is_not_moved(prepared: Get) -> None:
    learner = train(prepared("sequence"), configured("sequence", {}), num_experiences=1).learner
    step = passed(learner, 0, 1, placeholder=True)
    assert not FGM().perturbation(learner, step).any()  # type: ignore[arg-type]
    assert float(FGM().loss(learner, step)) == 0.0  # type: ignore[arg-type]


def test_labels_are_those_of_the_step(prepared: Get) -> None:
    """What another plugin makes of labels and weights counts for the adversarial loss too."""
    learner = train(prepared("token"), configured("token", {}), num_experiences=1).learner
    step = passed(learner, 0, 4)
    silent = step.weighed("token", torch.zeros(len(step.outputs["token"].targets), dtype=torch.double))
    assert float(FGM().loss(learner, silent)) == 0.0  # type: ignore[arg-type]
    assert not FGM().perturbation(learner, silent).any()  # type: ignore[arg-type]
    assert float(FGM().loss(learner, step)) > 0.0  # type: ignore[arg-type]
