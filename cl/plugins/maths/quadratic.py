"""Quadratic penalties: the sum of any number of them is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl.plugins.maths.algebra import Rows, Tensors, add_to_rows, rows_of, set_rows


@dataclass
class Quadratic:
    """Σ Aᵢ(θᵢ − μᵢ)² + c over named parameters; `curvature` A and `centre` μ.

    >>> two = Quadratic()
    >>> two.add({"w": torch.tensor([1.0])}, {"w": torch.tensor([0.0])})
    >>> two.add({"w": torch.tensor([3.0])}, {"w": torch.tensor([4.0])})
    >>> two.curvature, two.centre, two.constant  # θ² + 3(θ − 4)² = 4(θ − 3)² + 12
    ({'w': tensor([4.])}, {'w': tensor([3.])}, 12.0)

    Of a matrix most of whose rows have no curvature, such as the embeddings of words that never came, only the others
    are kept: `rows`. A parameter that is not named there is kept whole, or in its first rows if it has grown since.
    """

    curvature: Tensors = field(default_factory=dict)
    centre: Tensors = field(default_factory=dict)
    rows: Tensors = field(default_factory=dict)
    constant: float = 0.0

    def add(self, curvature: Tensors, centre: Tensors) -> None:
        """Adds Σ curvature·(θ − centre)², exactly."""
        for name, f in curvature.items():
            rows, f, x, a, m = self._beside(name, f, centre[name])
            total = a + f
            # Written so that equal centres stay equal to the last bit: Adam makes whole steps of rounding errors.
            mean = torch.where(total > 0, m + f / total.clamp(min=torch.finfo(total.dtype).tiny) * (x - m), x)
            self.constant += float((a * (m - mean) ** 2 + f * (x - mean) ** 2).double().sum())
            self._keep(name, rows, total, mean)

    def replace(self, curvature: Tensors, centre: Tensors, decay: float = 1.0) -> None:
        """Adds `curvature` to `decay` times its own, and takes over `centre`."""
        if not decay:
            self.curvature, self.centre, self.rows = {}, {}, {}
        for name, f in curvature.items():
            rows, f, x, a, _ = self._beside(name, f, centre[name])
            self._keep(name, rows, decay * a + f, x)

    def apply(self, parameters: Tensors, gradients: Tensors, factor: float) -> Tensor:
        """`factor` times the value at these parameters, whose gradient is added to `gradients` in place.

        Rows that a head has grown since are free. Value and gradient share a pass.
        """
        values = []

        with torch.no_grad():
            for name, p, a, m in self._held(parameters):
                distance = p - m
                slope = distance * a
                values.append(torch.dot(slope.flatten(), distance.flatten()))
                slope.mul_(2 * factor)  # not as `alpha`, which refuses what float32 cannot hold
                add_to_rows(gradients[name], self.rows.get(name), slope)
            return factor * (torch.stack(values).sum() + self.constant)

    def whole(self, name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """A and μ of a parameter in its shape, zero where nothing is kept."""
        if name not in self.curvature:
            return torch.zeros_like(like), torch.zeros_like(like)
        kept = self.curvature[name].to(like.device), self.centre[name].to(like.device)
        whole = torch.zeros_like(like, dtype=kept[0].dtype), torch.zeros_like(like, dtype=kept[1].dtype)
        rows = self.rows[name].to(like.device) if name in self.rows else None
        for state, of_rows in zip(whole, kept, strict=True):
            set_rows(state, rows, of_rows)
        return whole

    def _beside(self, name: str, f: Tensor, x: Tensor) -> tuple[Rows, Tensor, Tensor, Tensor, Tensor]:
        """A new curvature, a new centre, A and μ, all in the same rows; None for all rows."""
        if f.ndim < 2 or (name in self.curvature and name not in self.rows):
            return None, f, x, *self.whole(name, x)
        touched = f.flatten(1).any(1)
        if name in self.rows:
            touched[self.rows[name].to(f.device)] = True
        rows = touched.nonzero().flatten()
        if not 0 < len(rows) < len(f) / 2:
            return None, f, x, *self.whole(name, x)
        a, m = torch.zeros_like(f[rows]), torch.zeros_like(x[rows])
        if name in self.rows:
            place = torch.searchsorted(rows, self.rows[name].to(rows.device))
            set_rows(a, place, self.curvature[name].to(a))
            set_rows(m, place, self.centre[name].to(m))
        return rows, f[rows], x[rows], a, m

    def _keep(self, name: str, rows: Rows, curvature: Tensor, centre: Tensor) -> None:
        self.rows.pop(name, None)
        if rows is not None:
            self.rows[name] = rows
        self.curvature[name], self.centre[name] = curvature, centre

    def _held(self, parameters: Tensors) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Of each of these parameters that it knows: the name, the rows that it holds, A and μ, in one dtype.

        Others do not train now.
        """
        for name in [name for name in self.curvature if name in parameters]:
            p = parameters[name]
            for state in (self.curvature, self.centre, self.rows):  # a checkpoint brings them on the CPU
                if name in state:
                    state[name] = state[name].to(p.device)
            a, m = self.curvature[name], self.centre[name]
            held = rows_of(p, self.rows.get(name), a)
            yield name, held.to(a.dtype), a, m.to(a.dtype)
