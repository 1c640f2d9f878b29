"""How far runs that deal the same global batches out in other ways end from each other, in double precision.

    python experiments/exactness/tolerance.py

One process; accumulation 2; two gloo ranks; two ranks with accumulation 2. Five plugins at once, a mixed stream.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CONFIG = """
stream: {toy: {domains: 2, types: 1, num_train: 60, num_test: 40}}
network: {dropout: 0.0, max_length: 48, scratch: {hidden: 64, layers: 1}}
strategies: {all: {ewc: {num_examples: 20}, lwf: {}, replay: {}, der++: {}, agem: {}}}
training: {batch_size: 16, learning_rate: 7e-4}
trainer: {precision: 64-true, accelerator: cpu, max_epochs: 2}
wandb: {mode: disabled}
"""


def end_of(folder: Path, ranks: int, accumulate: int) -> dict[str, Any]:
    """The learner's state at the end of a run, with plugins and all."""
    dealt = [f"trainer.devices={ranks}", f"trainer.accumulate_grad_batches={accumulate}", f"run.dir={folder}"]
    subprocess.run(
        [sys.executable, "-m", "cl", "run", str(folder.parent / "c.yaml"), *dealt], check=True, capture_output=True
    )
    newest = max(folder.glob("all/seed0/checkpoints/*.pt"))
    state: dict[str, Any] = torch.load(newest, weights_only=True)
    return {
        "network": state["learner"]["network"],
        "plugins": state["learner"]["plugins"],
        "R": {
            str(i): torch.tensor([[v or 0.0 for v in row] for row in table])
            for i, table in state["matrix"]["scores"].items()
        },
    }


def difference(a: Any, b: Any) -> float:
    """‖a − b‖ / ‖a‖ over all real numbers in two states; infinite where anything else differs.

    Of all together: what is zero but for rounding, such as the keys' biases in attention, has no relative error.
    """
    left, right = dict(_flat(a)), dict(_flat(b))
    if left.keys() != right.keys() or any(left[k].tolist() != right[k].tolist() for k in left if not _real(left[k])):
        return float("inf")
    distance = sum(float((left[key] - right[key]).double().square().sum()) for key in left if _real(left[key]))
    return (distance / sum(float(t.double().square().sum()) for t in left.values() if _real(t))) ** 0.5


def _flat(state: Any, key: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, dict):
        for name, value in state.items():
            yield from _flat(value, f"{key}.{name}")
    elif isinstance(state, Tensor | float):
        yield key, torch.as_tensor(state)


def _real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def main() -> None:
    """Prints each way's distance from one process."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "c.yaml").write_text(CONFIG)
        alone = end_of(Path(folder, "alone"), 1, 1)
        for ranks, accumulate in ((1, 2), (2, 1), (2, 2)):
            other = end_of(Path(folder, f"{ranks}x{accumulate}"), ranks, accumulate)
            parts = ", ".join(f"{name} {difference(alone[name], other[name]):.1e}" for name in alone)
            print(f"{ranks} process(es) × accumulation {accumulate}: {parts}", flush=True)


if __name__ == "__main__":
    main()
