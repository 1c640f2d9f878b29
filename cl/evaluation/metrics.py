"""What a matrix of scores says about learning and forgetting: pure functions of R.

R is float64 `[n, T]`: `R[i, j]` is the score on experience `j` after learning experience `i`, for the `n` of `T`
experiences learnt so far; the last row is the current one. In the formulas indices start at 0 and `k = n − 1` is
the last experience learnt. Experiences not learnt yet count in no metric, so that a metric of an unfinished run is
that of the finished run over its first `n` experiences.

A mean is over the entries that were measured (not NaN). What is undefined, such as the forgetting of a single
experience, is NaN and never an error. All are in the unit of the scores; a sign is said where it matters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cl.evaluation.matrix import EvaluationMatrix

Floats = NDArray[np.float64]


def average_score(r: Floats) -> float:
    """Mean current score of the experiences learnt, `1/n Σ_j R[k, j]` (ACC of Lopez-Paz & Ranzato, 2017).

    >>> r = np.array([[0.9, 0.5, 0.5], [0.7, 0.8, 0.6], [0.6, 0.7, 1.0]])
    >>> round(average_score(r), 6)  # (0.6 + 0.7 + 1.0) / 3
    0.766667
    >>> average_score(r[:1])  # what is still to come counts in nothing
    0.9
    """
    return _mean(_learnt(r)[-1:])


def average_over_time(r: Floats) -> float:
    """Mean of the average score after each experience, `1/n Σ_i 1/(i+1) Σ_{j≤i} R[i, j]`.

    The average incremental accuracy of iCaRL (Rebuffi et al., 2017). Papers on continual NER (Zheng et al., 2022)
    also average over all steps, but the F1 of the pooled test set: see `pooled_over_time/…` of `summary`.
    """
    return _mean(np.array([average_score(r[: i + 1]) for i in range(len(r))]))


def learning_accuracy(r: Floats) -> float:
    """Mean score of each experience right after learning it, `1/n Σ_j R[j, j]` (Riemer et al., 2019): plasticity.

    >>> round(learning_accuracy(np.array([[0.9, 0.5], [0.7, 0.8]])), 6)
    0.85
    """
    return _mean(r.diagonal())


def forgetting_per_experience(r: Floats) -> Floats:
    """How far each experience is below its best, `f_j = max_{i<k} R[i, j] − R[k, j]` for `j < k`: float64 `[n − 1]`.

    Negative where the last experience made it better than ever. The maximum runs over *all* earlier rows, as in
    Chaudhry et al. (2018): also over those from before `j` was learnt, where `j` could be measured.

    >>> forgetting_per_experience(np.array([[0.9, 0.5, 0.5], [0.7, 0.8, 0.6], [0.6, 0.7, 1.0]])).round(6)
    array([0.3, 0.1])
    """
    if len(r) < 2:
        return np.empty(0)
    earlier, current = r[:-1, : len(r) - 1], r[-1, : len(r) - 1]
    best: Floats = np.fmax.reduce(earlier, axis=0)  # NaN only where every row is
    return best - current


def forgetting(r: Floats) -> float:
    """Mean of `forgetting_per_experience`, `1/k Σ_{j<k} f_j` (Chaudhry et al., 2018). Smaller is better.

    >>> forgetting(np.array([[0.9]]))  # nothing can be forgotten yet
    nan
    """
    return _mean(forgetting_per_experience(r))


def backward_transfer(r: Floats) -> float:
    """What later experiences did to earlier ones, `1/k Σ_{j<k} R[k, j] − R[j, j]` (Lopez-Paz & Ranzato, 2017).

    Negative where they were forgotten. Not the negative of `forgetting`, which compares with the best row.

    >>> r = np.array([[0.5, 0.1, 0.1], [0.9, 0.8, 0.1], [0.7, 0.8, 1.0]])
    >>> round(backward_transfer(r), 6), round(forgetting(r), 6)  # better than once learnt, worse than at best
    (0.1, 0.1)
    """
    square = _learnt(r)
    return _mean((square[-1:] - square.diagonal())[:, :-1])


def initial_score(initial: Floats | None) -> float:
    """Mean score of all experiences before any training, of those that can be scored then; NaN without it."""
    return float("nan") if initial is None else _mean(initial)


def forward_transfer(r: Floats, initial: Floats | None) -> float:
    """What earlier experiences did for later ones, `1/k Σ_{1≤j≤k} R[j−1, j] − b[j]` (Lopez-Paz & Ranzato, 2017).

    Positive where they helped. `initial` is `b`, `[T]`, the scores before any training; NaN without it.
    """
    if initial is None:
        return float("nan")
    return _mean(_learnt(r).diagonal(offset=1) - initial[1 : len(r)])


def intransigence(r: Floats, joint: Floats) -> float:
    """How much worse each experience was learnt than by a joint run, `1/n Σ_j J[j, j] − R[j, j]`.

    `joint` is J, the matrix of a run on the same stream that learns experience `j` with the data of all experiences
    up to `j`. The mean over experiences of `I_j` of Chaudhry et al. (2018). Negative where the run beat the joint
    one. Only the rows that both runs have are compared.
    """
    n = min(len(r), len(joint))
    return _mean(joint[:n].diagonal() - r[:n].diagonal())


def normalised_retention(r: Floats, finetune: Floats, joint: Floats) -> float:
    """Where a run stands between finetuning (0) and joint training (1), `(A(R) − A(F)) / (A(J) − A(F))`.

    A is the average score, F and J the matrices of these two runs on the same stream. NaN where joint
    training is no better than finetuning, `A(J) ≤ A(F)`: there is nothing to stand between.
    """
    low, high = average_score(finetune), average_score(joint)
    return (average_score(r) - low) / (high - low) if high > low else float("nan")


def summary(matrix: EvaluationMatrix) -> dict[str, float]:
    """Every metric of `score` that one run defines, by name; with it, if the run pooled test sets, `pooled/<name>`, the
    current pooled score, and `pooled_over_time/<name>`, its mean over experiences.
    """
    r = matrix.array()
    pooled = {name: matrix.pooled_array(name) for name in matrix.pooled_names}
    return {
        "average_score": average_score(r),
        "average_over_time": average_over_time(r),
        "learning_accuracy": learning_accuracy(r),
        "forgetting": forgetting(r),
        "backward_transfer": backward_transfer(r),
        "forward_transfer": forward_transfer(r, matrix.initial_array()),
        "initial_score": initial_score(matrix.initial_array()),
        **{f"pooled/{name}": float(values[-1]) for name, values in pooled.items()},
        **{f"pooled_over_time/{name}": _mean(values) for name, values in pooled.items()},
    }


def _learnt(r: Floats) -> Floats:
    """`[n, n]`: R without the experiences that are still to come."""
    return r[:, : len(r)]


def _mean(values: Floats) -> float:
    """The mean of what was measured, NaN where nothing was (`np.nanmean` would warn)."""
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if measured.size else float("nan")
