"""Warm starts for training: the dual potentials of every sample, kept from the last batch that held it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wbm_ext.errors import check_name
from wbm_ext.solver import SinkhornResult, solve
from wbm_ext.solver.api import Kappa
from wbm_ext.solver.arguments import REFERENCES

_NAN = float("nan")
_INF = float("inf")


def _hard(kappa: Kappa) -> bool:
    """Both marginals hard: potentials are then free up to a constant."""
    sides = kappa if isinstance(kappa, (tuple, list)) else (kappa,)
    return all(math.isinf(float(side)) for side in sides)


def _half_update(
    cost: Tensor,
    potential: Tensor,
    known: Tensor,
    source: Tensor,
    mass: Tensor,
    epsilon: float,
    kappa: float,
    kind: str,
) -> Tensor:
    """The potentials of the columns of ``cost`` from those of its ``known`` rows.

    g_j = s log b_j - λ log Σ_i exp((f_i - D_ij)/ε), λ = εκ/(ε + κ), s = λ (entropy) or ε (product). The sum over the
    known rows is taken for their share a(known)/a(all) of the whole one.
    """
    share = float(source[known].sum() / source.sum())
    if share == 0:
        return torch.full_like(mass, _NAN, dtype=torch.float64)
    exponent = (potential[known].to(cost.dtype)[:, None] - cost[known]) / epsilon
    sums = torch.logsumexp(exponent, 0).double() - math.log(share)
    strength = epsilon / (1.0 + epsilon / kappa)
    return (strength if kind == "entropy" else epsilon) * mass.double().log() - strength * sums


class PotentialsCache(nn.Module):
    """Dual potentials by sample, so that the solve of a batch starts where earlier batches ended.

    ``cache.solve(D, a, b, rows=i, columns=j)`` is :func:`wbm_ext.solve` with a warm start: i and j are the indices in
    the data set of the samples that the rows and columns of D stand for. A sample that was in no batch yet gets its
    potential from the known samples of the other side by one half-update

        g_j = s log b_j - λ log Σ_i exp((f_i - D_ij)/ε),   λ = εκ/(ε + κ),   s = λ (entropy) or ε (product);

    without any known sample the solve starts cold. With both marginals hard, potentials are free up to a constant that
    differs from batch to batch; what is kept is shifted to agree, in the median, with what is known already.

    The solution is that of a cold start within ``tol``; only the number of iterations changes. A start is as good as
    the potentials are steady, and they vary with D, ε and the masses of the whole batch. Its own cost is a few passes
    over vectors where every column is known, and one ``logsumexp`` over the block of unknown columns otherwise.

    {saving}

    The cache is a module: its two buffers move with ``to``, are in ``state_dict`` and survive ``copy`` and ``pickle``.

    Parameters
    ----------
    rows : int
        Number of samples that may be a row.
    columns : int, optional
        Number of samples that may be a column; as many as rows by default (both index one data set).

    Attributes
    ----------
    f, g : Tensor of float64, shapes (rows,) and (columns,)
        Last potentials, units of D; NaN where a sample has not been seen in that role.

    Examples
    --------
    >>> import torch, wbm_ext
    >>> x, y = torch.linspace(0, 1, 6)[:, None], torch.linspace(0.2, 1.5, 5)[:, None]
    >>> D, i, j = torch.cdist(x, y).square(), torch.arange(6), torch.arange(5)
    >>> cache = PotentialsCache(6, 5)
    >>> [bool(cache.solve(D, epsilon=0.02, rows=i, columns=j).iterations > 1) for _ in range(2)]
    [True, False]
    >>> cache.known
    (6, 5)
    """

    f: Tensor
    g: Tensor

    def __init__(self, rows: int, columns: int | None = None) -> None:
        super().__init__()
        columns = rows if columns is None else columns
        for name, value in (("rows", rows), ("columns", columns)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.register_buffer("f", torch.full((rows,), _NAN, dtype=torch.float64))
        self.register_buffer("g", torch.full((columns,), _NAN, dtype=torch.float64))

    @property
    def known(self) -> tuple[int, int]:
        """Samples with a potential: as rows, as columns."""
        return int((~self.f.isnan()).sum()), int((~self.g.isnan()).sum())

    @torch.no_grad()
    def reset(self) -> None:
        """Forget every potential; needed when the representation or ε jumps, not when they move."""
        self.f.fill_(_NAN)
        self.g.fill_(_NAN)

    @torch.no_grad()
    def init(
        self,
        D: Tensor,
        a: Tensor | None = None,
        b: Tensor | None = None,
        *,
        rows: Tensor,
        columns: Tensor,
        epsilon: float | Tensor | None = None,
        kappa: Kappa = _INF,
        reference: str = "entropy",
        mask: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor] | None:
        """The start ``init=(f, g)`` of a batch, or None where no sample is known.

        Parameters
        ----------
        D, a, b, epsilon, kappa, reference, mask
            As in :func:`wbm_ext.solve`; one problem, D of shape (n, m).
        rows, columns : Tensor of integers, shapes (n,) and (m,)
            Index of the sample behind each row and column.

        Returns
        -------
        (f, g) or None
            f is None where nothing asked for it: an iteration starts from g alone.

        Raises
        ------
        TypeError, ValueError
            Indices of another type or shape, or out of range; D that is not one problem.
        """
        self._check(D, rows, columns)
        check_name("reference", reference, REFERENCES)
        f, g = self.f[rows], self.g[columns]
        known_f, known_g = ~f.isnan(), ~g.isnan()
        if bool(known_g.all()):
            return None, g
        if not bool(known_f.any() or known_g.any()):
            return None
        cost = D.detach() if mask is None else torch.where(mask, D.detach(), _INF)
        cost = cost if cost.dtype == torch.float64 else cost.float()
        a = torch.full_like(f, 1.0 / len(f)) if a is None else a.detach().double()
        b = torch.full_like(g, 1.0 / len(g)) if b is None else b.detach().double()
        if _hard(kappa):
            b = b * (a.sum() / b.sum())
        if epsilon is None:  # the default of solve
            epsilon = 0.05 * torch.ops.wbm_ext.mean_cost(cost[None], a[None], b[None], None)
        strength, pair = float(epsilon), kappa if isinstance(kappa, (tuple, list)) else (kappa, kappa)
        soft = [float(side) for side in pair]
        if not bool(known_f.all()) and bool(known_g.any()):
            new = ~known_f
            f[new] = _half_update(cost[new].T, g, known_g, b, a[new], strength, soft[0], reference)
            known_f = ~f.isnan()
        new = ~known_g
        if bool(known_f.any()):
            g[new] = _half_update(cost[:, new], f, known_f, a, b[new], strength, soft[1], reference)
        # a column without admissible known rows, or without mass: any finite value may stand there
        finite = g.isfinite()
        if not bool(finite.any()):
            return None
        return (f if bool(f.isfinite().all()) else None), torch.where(finite, g, g[finite].mean())

    @torch.no_grad()
    def update(self, result: SinkhornResult, *, rows: Tensor, columns: Tensor, kappa: Kappa = _INF) -> None:
        """Keep the potentials of a solved batch; those that are not finite are left out.

        With both marginals hard, f - c and g + c solve the same problem: c is the median of what the samples known
        before would have to be moved by.
        """
        self._check(result._matrix, rows, columns)
        f, g = result.f.detach().double(), result.g.detach().double()
        if _hard(kappa):
            moves = torch.cat([f - self.f[rows], self.g[columns] - g])
            moves = moves[moves.isfinite()]
            if len(moves):
                c = moves.median()
                f, g = f - c, g + c
        for kept, new, index in ((self.f, f, rows), (self.g, g, columns)):
            good = new.isfinite()
            kept[index[good]] = new[good].to(kept)

    def _check(self, D: Tensor, rows: Tensor, columns: Tensor) -> None:
        if not isinstance(D, Tensor) or D.dim() != 2:
            got = tuple(D.shape) if isinstance(D, Tensor) else type(D).__name__
            raise ValueError(f"D must be one problem, a tensor of shape (n, m), got {got}")
        for name, index, count, kept in (("rows", rows, D.shape[0], self.f), ("columns", columns, D.shape[1], self.g)):
            if not isinstance(index, Tensor) or index.dtype not in (torch.int64, torch.int32):
                kind = index.dtype if isinstance(index, Tensor) else type(index).__name__
                raise TypeError(f"{name} must be a tensor of sample indices (int64 or int32), got {kind}")
            if index.shape != (count,):
                raise ValueError(
                    f"{name} must have shape ({count},) for D of shape {tuple(D.shape)}, got {tuple(index.shape)}"
                )
            if index.device != kept.device or D.device != kept.device:
                raise ValueError(
                    f"D and {name} must be on the cache's device, {kept.device}; got {D.device} and {index.device}"
                )
            if index.device.type == "cpu" and count and not 0 <= int(index.min()) <= int(index.max()) < len(kept):
                raise ValueError(f"{name} must be in [0, {len(kept)}), got {int(index.min())} to {int(index.max())}")

    def solve(
        self,
        D: Tensor,
        a: Tensor | None = None,
        b: Tensor | None = None,
        *,
        rows: Tensor,
        columns: Tensor,
        epsilon: float | Tensor | None = None,
        kappa: Kappa = _INF,
        reference: str = "entropy",
        mask: Tensor | None = None,
        **options: Any,
    ) -> SinkhornResult:
        """:func:`wbm_ext.solve` from the potentials kept for these samples, which are then renewed.

        Parameters
        ----------
        rows, columns : Tensor of integers, shapes (n,) and (m,)
            Index of the sample behind each row and column of D.

        All others, what is returned, errors and warnings: those of :func:`wbm_ext.solve` (``init`` excepted), of
        :meth:`init` and :meth:`update`.
        """
        if "init" in options:
            raise TypeError("init is what the cache supplies; call wbm_ext.solve to pass one")
        start = self.init(
            D, a, b, rows=rows, columns=columns, epsilon=epsilon, kappa=kappa, reference=reference, mask=mask
        )
        result = solve(D, a, b, epsilon=epsilon, kappa=kappa, reference=reference, mask=mask, init=start, **options)
        self.update(result, rows=rows, columns=columns, kappa=kappa)
        return result


def check_index(cache: PotentialsCache | None, index: Tensor | None, size: int) -> None:
    """A cache needs the index of every sample of the batch.

    Raises
    ------
    TypeError, ValueError
        No cache of this kind, no index, or an index of another shape.
    """
    if cache is None:
        return
    if not isinstance(cache, PotentialsCache):
        raise TypeError(f"cache must be a PotentialsCache, got {type(cache).__name__}")
    if not isinstance(index, Tensor) or index.shape != (size,):
        got = tuple(index.shape) if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"index must be a tensor of shape ({size},), the samples of the batch, with cache; got {got}")


def solver_of(cache: PotentialsCache | None, samples: tuple[Tensor, Tensor] | None) -> Callable[..., SinkhornResult]:
    """:func:`wbm_ext.solve`, or that of the cache for the samples on both sides."""
    if cache is None:
        return solve
    if not isinstance(cache, PotentialsCache):
        raise TypeError(f"cache must be a PotentialsCache, got {type(cache).__name__}")
    if samples is None:
        raise ValueError("index must name the samples of both sides with cache, got None")
    return partial(cache.solve, rows=samples[0], columns=samples[1])
