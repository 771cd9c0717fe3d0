"""The two functions a user calls."""

from __future__ import annotations

from torch import Tensor

from wbm_ext.errors import check_name
from wbm_ext.solver import autograd
from wbm_ext.solver.checks import prepare
from wbm_ext.solver.kernels import Wanted
from wbm_ext.solver.problem import (
    COSTS,
    CostName,
    CriterionName,
    GradientName,
    Kappa,
    MethodName,
    ReferenceName,
    Strength,
    ValidationName,
)
from wbm_ext.solver.result import SinkhornResult, version

_INF = float("inf")
Init = SinkhornResult | tuple[Tensor | None, Tensor] | None
_SHARP = Wanted(regularized=False, potentials=False, report=False)
_REGULARIZED = Wanted(sharp=False, potentials=False, report=False)


def solve(
    D: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: Strength | None = None,
    kappa: Kappa = _INF,
    reference: ReferenceName = "entropy",
    grad: GradientName = "implicit",
    method: MethodName = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    criterion: CriterionName = "marginal",
    init: Init = None,
    mask: Tensor | None = None,
    validate: ValidationName = "auto",
) -> SinkhornResult:
    """Entropic optimal transport on a given cost matrix, balanced or with KL-relaxed marginals.

    Minimises over plans P ≥ 0

        ⟨D, P⟩ - ε H(P) + κ₁ KL(P1 | a) + κ₂ KL(Pᵀ1 | b),   H(P) = -Σ P (log P - 1),
        KL(p | q) = Σ p log(p/q) - p + q;   κ = inf: the constraint P1 = a (Pᵀ1 = b) in the place of the penalty.

    Parameters
    ----------
    D : Tensor, shape (..., n, m)
        Cost of each pair; float32, float64, float16 or bfloat16 (the last two with float32 masses, potentials and
        accumulation; read as they are on CUDA, converted on the CPU). +inf forbids a pair. Any strides, also expanded
        (stride 0).
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses ≥ 0 of rows and columns in the type of D (float32 for 16-bit D; under autocast 16-bit masses are lifted
        to it); uniform with total 1 where not given.
        Leading dimensions of D, a, b and mask broadcast. Zero masses (padding) change nothing. Hard marginals whose
        totals differ by less than 1e-3 relative: b is rescaled to the total of a, and the status says so.
    epsilon : float or Tensor with one value per problem, optional
        Entropic strength, units of D. Default: 0.05 × the mean of D over finite, unmasked entries with a_i > 0 and
        b_j > 0, per problem, detached; 0.05 where D is 0 throughout.
    kappa : float, Tensor with one value per problem, or a pair of these (rows, columns)
        Strength of mass preservation, units of D (POT: ``reg_m``); inf is a hard marginal. ε and κ given as tensors
        that require a gradient get it (``grad="implicit"``; 0 for κ = inf).
    reference : {"entropy", "product"}
        "entropy" has - ε H(P), H(P) = -Σ P (log P - 1), as both papers do; "product" has ε KL(P | a bᵀ) instead
        (GeomLoss, and POT's ``reg_type="kl"``; OTT's plans are those of "entropy"). With hard marginals the plan is the
        same, else it is another one.
    grad : {"implicit", "unrolled", "frozen"}
        "implicit": exact at the fixed point, by one linear system; error of the order of the residual.
        "unrolled": exact derivative of the iterations that were run (always plain ones).
        "frozen": the plan is a constant (ESCFR Alg. 3, step 5): dD = P, nothing for a and b.
        With both marginals hard only directions that keep the total mean anything: Σ a da = Σ b db = 0. At a zero mass
        the derivative is the one-sided one; where that is infinite (entropy reference with a finite κ, or for the
        regularised cost) or leaves the range of the type, 0 is returned.
    method : {"auto", "sinkhorn"}
        "sinkhorn": plain iterations. "auto": whatever reaches the same solution: with a finite kappa each iteration is
        followed by the translation of the potentials that is optimal along its line; where the iterations crawl (small
        ε, tight ``tol``), annealing in ε and Newton steps take over, and ``iterations`` counts passes over the matrix.
    tol : float
        On the residual of :class:`SinkhornResult`; 0 runs exactly ``max_iter`` iterations.
    max_iter : int
        One iteration is the f update, then the g update, from g = 0 or init's g. Problems of a batch stop separately.
    criterion : {"marginal", "scaling"}
        "scaling" is the WBM paper's |u - u'|² + |v - v'|² < tol with u = exp(f/ε), v = exp(g/ε) (Algorithm 1).
    init : SinkhornResult or (f, g), optional
        Warm start. Started at the optimum it stops at the first test.
    mask : Tensor of bool, shape (..., n, m), optional
        True = the pair may carry mass. D is not looked at where it is False.
    validate : {"auto", "full", "none"}
        Checks that read the data: "auto" on the CPU but not on CUDA (where they would wait for the device), "full"
        always, "none" never. Without them a refused problem comes out NaN with the reason in its status.

    Returns
    -------
    SinkhornResult

    Raises
    ------
    TypeError, ValueError
        Naming argument, expected and got: shapes, types, devices; ε or κ not positive; NaN or -inf in D; negative or
        non-finite masses; hard marginals with different totals; a hard row or column with mass and no admissible pair.
    NotImplementedError
        ε or κ that require a gradient, with ``grad`` other than "implicit".

    Warns
    -----
    ConvergenceWarning
        Once per call site, with the residual and the remedy, when a problem ends above ``tol`` (never for tol = 0).

    Examples
    --------
    >>> import torch, wbm_ext
    >>> D = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> result = wbm_ext.solve(D, epsilon=0.1)
    >>> print([round(p, 4) for p in result.plan.flatten().tolist()])
    [0.5, 0.0, 0.0, 0.5]
    >>> bool(result.converged)
    True

    References
    ----------
    Wasserstein Balancing Metric: Definition 3.1 and Algorithm 1. ESCFR: Definition 3.2 and Algorithm 2, with its
    ``l//2 = 0`` read as "on even l" and the sign of H as in its Eq. (8).
    """
    problem, options, batch, read, followed = prepare(
        D, a, b, epsilon, kappa, reference, grad, method, tol, max_iter, criterion, init, mask, validate
    )  # fmt: skip
    found, adjoint = autograd.solve(problem, options, batch, read, followed)
    n, m = problem.D.shape[-2:]

    def shaped(x: Tensor, *own: int) -> Tensor:
        return x if x.shape == (*batch, *own) else x.reshape((*batch, *own))

    if not followed and D.is_inference():  # nothing counts the changes of such a tensor: the plan gets one of its own
        problem = problem._replace(D=problem.D.clone(), mask=None if mask is None else problem.mask.clone())  # type: ignore[union-attr]
    return SinkhornResult(
        cost=shaped(found.sharp),
        regularized_cost=shaped(found.regularized),
        iterations=shaped(found.iterations),
        residual=shaped(found.residual),
        transported_mass=shaped(found.mass),
        status=shaped(found.status),
        epsilon=shaped(found.epsilon),
        _f=shaped(found.f, n),
        _g=shaped(found.g, m),
        _D=shaped(problem.D, n, m),
        _mask=None if problem.mask is None else shaped(problem.mask, n, m),
        _adjoint=adjoint,
        _versions=(None, None) if followed else (version(problem.D), version(problem.mask)),
    )


def sinkhorn(
    D: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: Strength | None = None,
    kappa: Kappa = _INF,
    reference: ReferenceName = "entropy",
    cost: CostName = "sharp",
    grad: GradientName = "implicit",
    method: MethodName = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    criterion: CriterionName = "marginal",
    init: Init = None,
    mask: Tensor | None = None,
    validate: ValidationName = "auto",
) -> Tensor:
    """Entropic optimal transport cost of D between a and b: a differentiable loss, one number per problem.

    The minimisation is that of :func:`wbm_ext.solve`, which returns the plan and the potentials too. Of two point
    clouds x and y pass ``wbm_ext.losses.squared_distances(x, y)`` as D.

    Parameters
    ----------
    D : Tensor, shape (..., n, m)
        Cost of each pair; float32, float64, float16 or bfloat16 (the last two with float32 masses, potentials and
        accumulation; read as they are on CUDA, converted on the CPU). +inf forbids a pair. Any strides, also expanded
        (stride 0).
    a, b : Tensor, shape (..., n) and (..., m), optional
        Masses ≥ 0 of rows and columns in the type of D (float32 for 16-bit D; under autocast 16-bit masses are lifted
        to it); uniform with total 1 where not given.
        Leading dimensions of D, a, b and mask broadcast. Zero masses (padding) change nothing. Hard marginals whose
        totals differ by less than 1e-3 relative: b is rescaled to the total of a, and the status says so.
    epsilon : float or Tensor with one value per problem, optional
        Entropic strength, units of D. Default: 0.05 × the mean of D over finite, unmasked entries with a_i > 0 and
        b_j > 0, per problem, detached; 0.05 where D is 0 throughout.
    kappa : float, Tensor with one value per problem, or a pair of these (rows, columns)
        Strength of mass preservation, units of D (POT: ``reg_m``); inf is a hard marginal. ε and κ given as tensors
        that require a gradient get it (``grad="implicit"``; 0 for κ = inf).
    reference : {"entropy", "product"}
        "entropy" has - ε H(P), H(P) = -Σ P (log P - 1), as both papers do; "product" has ε KL(P | a bᵀ) instead
        (GeomLoss, and POT's ``reg_type="kl"``; OTT's plans are those of "entropy"). With hard marginals the plan is the
        same, else it is another one.
    cost : {"sharp", "regularized"}
        "sharp" is ⟨D, P*⟩, what the papers call the discrepancy; "regularized" the whole minimum, entropy and KL terms
        included. They are different numbers.
    grad : {"implicit", "unrolled", "frozen"}
        "implicit": exact at the fixed point, by one linear system; error of the order of the residual.
        "unrolled": exact derivative of the iterations that were run (always plain ones).
        "frozen": the plan is a constant (ESCFR Alg. 3, step 5): dD = P, nothing for a and b.
        With both marginals hard only directions that keep the total mean anything: Σ a da = Σ b db = 0. At a zero mass
        the derivative is the one-sided one; where that is infinite (entropy reference with a finite κ, or for the
        regularised cost) or leaves the range of the type, 0 is returned.
    method : {"auto", "sinkhorn"}
        "sinkhorn": plain iterations. "auto": whatever reaches the same solution: with a finite kappa each iteration is
        followed by the translation of the potentials that is optimal along its line; where the iterations crawl (small
        ε, tight ``tol``), annealing in ε and Newton steps take over, and ``iterations`` counts passes over the matrix.
    tol : float
        On the residual of :class:`SinkhornResult`; 0 runs exactly ``max_iter`` iterations.
    max_iter : int
        One iteration is the f update, then the g update, from g = 0 or init's g. Problems of a batch stop separately.
    criterion : {"marginal", "scaling"}
        "scaling" is the WBM paper's |u - u'|² + |v - v'|² < tol with u = exp(f/ε), v = exp(g/ε) (Algorithm 1).
    init : SinkhornResult or (f, g), optional
        Warm start. Started at the optimum it stops at the first test.
    mask : Tensor of bool, shape (..., n, m), optional
        True = the pair may carry mass. D is not looked at where it is False.
    validate : {"auto", "full", "none"}
        Checks that read the data: "auto" on the CPU but not on CUDA (where they would wait for the device), "full"
        always, "none" never. Without them a refused problem comes out NaN with the reason in its status.

    Returns
    -------
    Tensor, shape D.shape[:-2] (broadcast with the leading dimensions of a, b and mask)
        In the units of D; float32 for 16-bit D.

    Raises
    ------
    TypeError, ValueError
        Naming argument, expected and got: shapes, types, devices; ε or κ not positive; NaN or -inf in D; negative or
        non-finite masses; hard marginals with different totals; a hard row or column with mass and no admissible pair.
    NotImplementedError
        ε or κ that require a gradient, with ``grad`` other than "implicit".

    Warns
    -----
    ConvergenceWarning
        Once per call site, with the residual and the remedy, when a problem ends above ``tol`` (never for tol = 0).

    Examples
    --------
    >>> import torch, wbm_ext
    >>> x, y = torch.zeros(4, 2), torch.ones(3, 2)
    >>> D = torch.cdist(x, y).square().requires_grad_()
    >>> value = wbm_ext.sinkhorn(D, epsilon=0.1)
    >>> round(float(value.detach()), 4)
    2.0
    >>> value.backward()
    >>> round(float(D.grad.sum()), 4)
    1.0
    """
    if cost not in COSTS:
        check_name("cost", cost, COSTS)
    problem, options, batch, read, followed = prepare(
        D, a, b, epsilon, kappa, reference, grad, method, tol, max_iter, criterion, init, mask, validate
    )  # fmt: skip
    found, _ = autograd.solve(problem, options, batch, read, followed, _SHARP if cost == "sharp" else _REGULARIZED)
    value = found.sharp if cost == "sharp" else found.regularized
    return value if value.shape == batch else value.reshape(batch)
