"""The learner: network, strategy and loss as a LightningModule. The only training step in the project."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from cl.batches import Batch, Step
from cl.data.dataset import Store
from cl.data.module import ExperienceData
from cl.data.sampler import derive_seed
from cl.evaluation.evaluator import Evaluator
from cl.evaluation.matrix import Row
from cl.evaluation.predictions import NONE, Predicted
from cl.models.adapters import Earlier
from cl.models.network import Network
from cl.models.snapshot import base_names, hashes, settle, snapshot, take_back
from cl.plugins.maths.algebra import parameters_of
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.strategy import Strategy
from cl.training.frozen import keep_scored, keep_trained_on
from cl.training.optimizer import optimizer_of
from cl.training.outcome import Cost, Diverged, Learnt
from cl.training.recipe import LOG_EVERY, Recipe, Training
from cl.training.tools import LearnerTools
from cl.types import Experience, SplitName, UserError

log = logging.getLogger(__name__)
POINTS = 20  # of a loss curve, in an experience of as many steps


def points_apart(num_steps: int, asked: int) -> int:
    """Steps between two points of a loss curve: as a user asks; where nobody did, fewer than `LOG_EVERY` if an
    experience of `num_steps` would have less than 20 points.
    """
    if asked != LOG_EVERY:
        return asked
    return max(1, min(asked, num_steps // POINTS))


class Learner(LightningModule):
    """What trains. What plugins use of it are its `tools`.

    `begin` starts an experience, `learn` trains it to its end: one `Trainer.fit`. `sinks` are called with
    (experience, epoch, step, {name: value}) every `trainer.log_every_n_steps` optimizer steps, or more often in short
    experiences (see `points_apart`).
    """

    experience: Experience
    recipe: Recipe
    plan: ExperienceData
    _learnt: Learnt

    def __init__(
        self,
        network: Network,
        strategy: Strategy,
        evaluator: Evaluator,
        training: Training,
        *,
        seed: int,
        evaluate_batch_size: int,
        initial: bool,
        predictions: bool = False,
        max_epochs: int,
        max_steps: int | None = None,
        limit_train_batches: int | float | None = None,
        overfit_batches: int | float | None = None,
    ) -> None:
        super().__init__()
        self.network, self.strategy, self.evaluator, self.training_options = network, strategy, evaluator, training
        self.store: Store = evaluator.store
        self.seed, self.evaluate_batch_size = seed, evaluate_batch_size
        self.num_steps = self.total_steps = 0
        self.wants_initial, self.max_epochs, self.max_steps = initial, max_epochs, max_steps
        self.limit_train_batches, self.overfit_batches = limit_train_batches, overfit_batches
        self.initial: Row | None = None
        self.keeps_predictions = predictions
        self.tools = LearnerTools(self)
        self.sinks: list[Callable[[int, int, int, dict[str, float]], None]] = []
        self.asked_to_stop: Callable[[], bool] = bool
        self.stopping = False  # whether any rank was asked to stop, agreed in the newest step
        self.cost = Cost()
        self._terms: dict[str, Tensor] = {}
        self._loaded: dict[str, str] = {}  # hashes of weights that do not train, as they were loaded
        self._stepped = False  # whether the optimizer has taken the step under way

    # ------------------------------------------------------------------------------ an experience's course

    def begin(self, experience: Experience) -> None:
        """Makes the network ready for an experience: the only time at which parameters appear."""
        self.experience, self.num_steps, self.cost = experience, 0, Cost()
        self.network.grow(self.store.views.classes[experience.index], self.tools.generator("head"))
        self.strategy.adapt_model(self.tools, experience)
        settle(self.network)
        self._loaded |= hashes(self.network, [n for n in base_names(self.network) if n not in self._loaded])
        self.recipe = self.strategy.recipe(self.tools, Recipe(self.training_options), experience)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What DDP would send before each pass, and need not: it is alike on all ranks."""
        earlier = [(name, module) for name, module in self.named_modules() if isinstance(module, Earlier)]
        return [f"{name}.{buffer}" for name, module in earlier for buffer, _ in module.named_buffers()]

    def learn(self, trainer: Trainer) -> Learnt:
        """Trains from where the learner stands in its experience to its end, and scores every experience."""
        trainer.fit(self, datamodule=self.data())
        for optimizer in trainer.optimizers:  # in a ring of references, where its state would wait for a collector
            optimizer.state.clear()
        return self._learnt

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, at a step boundary: tensors and plain values."""
        return {
            "experience": self.experience.index,
            "num_steps": self.num_steps,
            "total_steps": self.total_steps,
            "cost": asdict(self.cost),
            # What plugins said when the experience began: they may say something else by now.
            "recipe": asdict(self.recipe) if self.strategy.changes_recipe else None,
            "classes": self.network.classes,
            "network": snapshot(self.network),
            "base": {name: self._loaded[name] for name in base_names(self.network)},
            "plugins": self.strategy.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up where a learner with that state stood."""
        for experience in self.evaluator.experiences[: state["experience"] + 1]:
            self.begin(experience)  # the structure grows as it did, then the values are taken over
        self.network.take_dtype(state["network"])
        if other := [name for name in base_names(self.network) if self._loaded[name] != state["base"].get(name)]:
            raise UserError(
                f"the weights of the backbone that do not train ({other[0]}, …) are others than those that the run "
                "began with: bring its files back, or start anew with run.overwrite=true"
            )
        # Earlier networks first: they stand upon the weights that were loaded, some of which have trained since.
        self.strategy.load_state_dict(self.tools, state["plugins"])
        take_back(self.network, state["network"])
        self.num_steps, self.total_steps, self.cost = state["num_steps"], state["total_steps"], Cost(**state["cost"])
        if state["recipe"] is not None:
            self.recipe = Recipe(Training(**state["recipe"]["options"]), state["recipe"]["rates"])

    def data(self) -> ExperienceData:
        """What to train on in this experience, as the plugins leave it, from the step it stands at."""
        index, options = self.experience.index, self.recipe.options
        train = self.strategy.train_data(self.tools, self.store.dataset(index, "train"), self.experience)
        self.plan = ExperienceData(
            train,
            index,
            batch_size=options.batch_size,
            batch_tokens=options.batch_tokens,
            max_epochs=self.max_epochs,
            max_steps=self.max_steps,
            limit_train_batches=self.limit_train_batches,
            overfit_batches=self.overfit_batches,
            seed=self.seed,
            start=self.num_steps,
            shuffle=options.shuffle,
        )
        if self.num_steps >= self.plan.num_steps:
            self._refuse_plan()
        return self.plan

    @property
    def epoch(self) -> int:
        """The epoch of the newest step."""
        return max(0, self.num_steps - 1) // self.plan.steps_per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the newest step is the last of an epoch, or of an experience that ends inside one."""
        return self.num_steps % self.plan.steps_per_epoch == 0 or self.num_steps == self.plan.num_steps

    def on_train_start(self) -> None:
        self._clock = time.perf_counter()
        self._base = hashes(self.network, base_names(self.network))
        self._keep_frozen_parts()
        if not self.num_steps:
            if self.wants_initial and self.experience.index == 0:
                self.initial, _ = self.evaluate("test")
                self.cost.evaluate_seconds += self.elapsed()
            self.strategy.before_experience(self.tools, self.experience)
            self.cost.plugin_seconds += self.elapsed()

    def on_train_end(self) -> None:
        self.cost.train_seconds += self.elapsed()
        self._warn_of_skipped_steps()
        self.strategy.after_experience(self.tools, self.experience)
        self.network.frozen.forget()
        self._refuse_changed_base()
        self.cost.plugin_seconds += self.elapsed()
        kept: dict[int, Predicted] | None = {} if self.keeps_predictions else None
        row, pooled = self.evaluate("test", kept=kept)
        self.cost.evaluate_seconds += self.elapsed()
        self.cost.num_steps = self.num_steps
        self._learnt = Learnt(row, pooled, self.cost, self._of_all_ranks(kept or {}))

    # -------------------------------------------------------------------------------------------- a step

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Dropout too is a function of (seed, experience, step, share): nothing to save, nothing to restore.
        seed = derive_seed(self.seed, self.experience.index, self.num_steps, batch.part)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes half a millisecond for all other devices
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)
        batch = self.strategy.on_batch(self.tools, batch)
        step = self.strategy.on_step(self.tools, Step(self.experience, batch, self.network(batch)))
        terms = {
            "labels": step.mean(lambda kind, output: cross_entropy(output)),
            **self.strategy.losses(self.tools, step),
        }
        total = torch.stack(list(terms.values())).sum()
        for name, term in terms.items():
            self._terms[name] = self._terms.get(name, 0.0) + term.detach()
        self._counts = batch.counts
        # Terms are shares of the global batch's loss. Lightning divides by the accumulated batches and DDP by
        # the ranks: multiplied by both, the gradients of the shares add up.
        return total * batch.num_parts

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._stepped = False
        gradients = self._gradients() if self.strategy.acts_on_gradients else {}
        # What a scaler is about to skip is no gradient of anything: plugins never see it.
        acts = self.strategy.acts_on_gradients and self._usable(gradients)
        if acts:
            self.strategy.after_backward(self.tools, gradients)
            for name, penalty in self.strategy.penalties(self.tools, gradients).items():
                # The same on every rank, where other terms are shares.
                self._terms[name] = self._terms.get(name, 0.0) + penalty / self.trainer.world_size
        mine = torch.stack(list(self._terms.values())).sum()
        # One collective for all that the ranks agree on in a step.
        agreed = self.tools.sum({"": torch.stack([mine, torch.full_like(mine, self.asked_to_stop())])})[""]
        total, asked = agreed.tolist()
        self.stopping = asked > 0
        if not math.isfinite(total):  # of all shares, so that every rank stops
            self._diverged(self.tools.sum(self._terms))
        if acts:
            for name, gradient in self.strategy.on_gradients(self.tools, dict(gradients)).items():
                if gradient is not gradients[name]:
                    gradients[name].copy_(gradient)
        # Every head is in every pass, if only with no target: DDP always gets all gradients and has no unused
        # parameters to find. Those of a kind that nothing in this step asked for come out as zero on every rank.
        for kind, (examples, _) in self._counts.items():
            if not examples and kind in self.network.heads:  # not in this step: no decay, no momentum either
                parameters = list(self.network.heads[kind].parameters())
                if not any(p.grad is not None and p.grad.any() for p in parameters):
                    for parameter in parameters:
                        parameter.grad = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the plan: counted, whether the optimizer takes it or a scaler skips it.

        So the data, the learning rates and the draws of dropout go on as planned; plugins hear of taken steps only.
        """
        super().optimizer_step(*args, **kwargs)
        self.num_steps += 1
        self.total_steps += 1
        if self._stepped:
            self.strategy.after_step(self.tools)
        else:
            self.cost.num_skipped += 1
        every = points_apart(self.plan.num_steps, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if self.num_steps % every == 0 or self.num_steps == self.plan.num_steps:
            self._log_terms()
        self._terms = {}

    def configure_optimizers(self) -> Any:
        options, index = self.recipe.options, self.experience.index
        # Lightning neither unscales nor clips the gradients of a fused step under mixed precision.
        clips, precision = self.trainer.gradient_clip_val, str(self.trainer.precision)
        fused = not precision.endswith("-mixed") or (precision == "bf16-mixed" and not clips)
        optimizer = optimizer_of(self.recipe, self.network, index, fused)
        optimizer.register_step_post_hook(self._note_step)  # a scaler that skips a step never calls it
        start, end = self.plan.start, self.plan.num_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: options.factor(start + step, end, index))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---------------------------------------------------------------------------------------- evaluation

    def evaluate(
        self, split: SplitName, which: Sequence[int] | None = None, kept: dict[int, Predicted] | None = None
    ) -> tuple[Row, dict[str, float]]:
        """Scores of each experience (None where not measurable yet), and pooled over those learnt.

        `kept`: takes what was predicted of this rank's share, by experience.
        """
        learnt = self.experience.index
        chosen = range(len(self.evaluator.experiences)) if which is None else which
        chosen = [e for e in chosen if self.evaluator.measurable(e, learnt)]
        by_network: dict[Network, list[int]] = {}
        for e in chosen:
            network = self.strategy.network_for(self.tools, self.network, self.evaluator.experiences[e])
            by_network.setdefault(network, []).append(e)
        counts: dict[int, Tensor] = {}
        for network, of_network in by_network.items():
            counts |= self.evaluator.counts(
                network,
                of_network,
                split,
                lambda data: self.tools.batches_of(data, self.evaluate_batch_size),
                learnt,
                kept,
            )
        counts = {int(e): c for e, c in self.tools.sum({str(e): c for e, c in counts.items()}).items()}
        row: list[dict[str, float] | None] = [None] * len(self.evaluator.experiences)
        for e, found in counts.items():
            row[e] = self.evaluator.scores(e, found)
        return tuple(row), self.evaluator.pooled({e: c for e, c in counts.items() if e <= learnt})

    # --------------------------------------------------------------------------------------------- inside

    def _keep_frozen_parts(self) -> None:
        others, options = self.strategy.remembered(self.tools), self.recipe.options
        if options.keep_best or options.patience is not None:
            others = [*others, self.store.dataset(self.experience.index, "valid")]
        with self.trainer.precision_plugin.forward_context():  # what is kept is of the precision of passes
            keep_trained_on(self.tools, self.plan, others)
            keep_scored(self.tools, len(self.evaluator.experiences))

    def _of_all_ranks(self, kept: dict[int, Predicted]) -> dict[int, Predicted]:
        """What all ranks predicted: each word was seen by one of them, and is nothing on the others."""
        columns = self.tools.sum({str(e): found.columns - NONE for e, found in kept.items()})
        probability = self.tools.sum({str(e): found.probability for e, found in kept.items()})
        return {e: Predicted(columns[str(e)] + NONE, probability[str(e)]) for e in kept}

    def _gradients(self) -> dict[str, Tensor]:
        """Those of every trained parameter, zero where it was not used."""
        trained = parameters_of(self.network)
        for parameter in trained.values():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return {name: p.grad for name, p in trained.items() if p.grad is not None}

    def _usable(self, gradients: dict[str, Tensor]) -> bool:
        """Whether the step will be taken: under a scaler, whether all gradients are finite (alike on all ranks)."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            return True
        return bool(torch.stack([gradient.isfinite().all() for gradient in gradients.values()]).all())

    def _note_step(self, *args: object) -> None:
        self._stepped = True

    def _warn_of_skipped_steps(self) -> None:
        if not self.cost.num_skipped:
            return
        text = (
            f"experience {self.experience.index} ({self.experience.name}): {self.cost.num_skipped} of {self.num_steps} "
            "steps were skipped, since float16 could not hold their gradients"
        )
        if self.cost.num_skipped == self.num_steps:
            raise Diverged(f"{text}: nothing was learnt. Take trainer.precision=bf16-mixed or 32-true")
        log.warning(text)

    def _log_terms(self) -> None:
        terms = {name: float(value) for name, value in self.tools.sum(self._terms).items()}
        values = {f"loss/{name}": value for name, value in terms.items()}
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.tools.record(values | {"loss": sum(terms.values()), "learning_rate": rate})

    def elapsed(self) -> float:
        """Seconds since the last call, or since training started."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def _refuse_changed_base(self) -> None:
        now = hashes(self.network, self._base)
        if changed := [name for name, before in self._base.items() if now[name] != before]:
            raise RuntimeError(
                f"a plugin has changed {changed[0]}, which does not train (requires_grad is False): no checkpoint "
                "would hold it. Let it train, if need be with a rate of 0 in the recipe"
            )

    def _refuse_plan(self) -> None:
        plan, name = self.plan, f"experience {self.experience.index} ({self.experience.name})"
        if not plan.steps_per_epoch:
            raise UserError(f"{name} has no example to train on: plugins have left none (train_data)")
        raise UserError(
            f"{name} has taken {self.num_steps} steps already, and with the options of now it has {plan.num_steps} in "
            f"all: give at least trainer.max_epochs={self.num_steps // plan.steps_per_epoch + 1}, and no smaller "
            "trainer.max_steps"
        )

    def _diverged(self, terms: dict[str, Tensor]) -> None:
        bad = [f"{name} = {term.item()}" for name, term in terms.items() if not math.isfinite(term.item())]
        where = f"experience {self.experience.index} ({self.experience.name}), step {self.num_steps}"
        raise Diverged(
            f"the loss is not finite in {where}: {', '.join(bad)}. Lower training.learning_rate or the strength of "
            "that term, or set trainer.gradient_clip_val"
        )
