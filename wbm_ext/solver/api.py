"""The two functions a user calls."""

from __future__ import annotations

import torch
from torch import Tensor

from wbm_ext.errors import check_name
from wbm_ext.solver import autograd, eager, transforms  # noqa: F401  (transforms: registers rules)
from wbm_ext.solver.arguments import Arguments, prepare
from wbm_ext.solver.checks import COSTS, is_transformed
from wbm_ext.solver.eager import Report, Solved
from wbm_ext.solver.result import Adjoint, SinkhornResult
from wbm_ext.solver.verdict import judge, judge_wrapped

_INF = float("inf")
Kappa = float | Tensor | tuple[float | Tensor, float | Tensor]
Init = SinkhornResult | tuple[Tensor | None, Tensor] | None


def _run(arguments: Arguments) -> Solved:
    """Solve, then raise and warn as the status says."""
    if is_transformed(arguments.cost, arguments.a, arguments.b, arguments.mask):
        return _run_registered(arguments)
    found = eager.solve(arguments)
    if not found.converged and arguments.reads_data:
        report = found.report()
        judge(arguments, report.epsilon.detach(), report.status, report.residual)
    return found


def _run_registered(arguments: Arguments) -> Solved:
    """By the registered operators, which torch's compiler and transforms see through."""
    epsilon, (cost, a, b, mask) = arguments.epsilons(), arguments.flat_data()
    sharp, regularized, f, g, mass, residual, iterations, status, _ = autograd.solve(
        cost, a, b, epsilon, arguments.kappas(), mask, arguments.init_g, arguments.reference, arguments.method,
        arguments.criterion, arguments.gradient, arguments.tol, arguments.max_iter,
    )  # fmt: skip
    if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling() and arguments.reads_data:
        judge_wrapped(arguments, status, residual)
    report = Report(epsilon, mass, residual, iterations, status)
    return Solved(sharp, regularized, f, g, report, None, Adjoint())


def solve(
    D: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor | None = None,
    kappa: Kappa = _INF,
    reference: str = "entropy",
    grad: str = "implicit",
    method: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    criterion: str = "marginal",
    init: Init = None,
    mask: Tensor | None = None,
    validate: str = "auto",
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
        b_j > 0, per problem, detached.
    kappa : float, Tensor with one value per problem, or a pair of these (rows, columns)
        Strength of mass preservation, units of D (POT: ``reg_m``); inf is a hard marginal. ε and κ given as tensors
        that require a gradient get it (``grad="implicit"``; 0 for κ = inf).
    reference : {"entropy", "product"}
        "entropy" is H above, as in both papers; "product" has ε KL(P | a bᵀ) instead (GeomLoss, and POT's
        ``reg_type="kl"``; OTT's plans are those of "entropy"). With hard marginals the plan is the same, else it is
        another one.
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
    arguments = prepare(
        D, a, b, epsilon, kappa, reference, grad, method, tol, max_iter, criterion, init, mask, validate
    )  # fmt: skip
    found, batch = _run(arguments), arguments.batch
    n, m = arguments.cost.shape[-2:]
    report = found.report()

    def shaped(x: Tensor, *own: int) -> Tensor:
        return x if x.shape == (*batch, *own) else x.reshape((*batch, *own))

    return SinkhornResult(
        cost=shaped(found.sharp),
        regularized_cost=shaped(found.regularized),
        iterations=shaped(report.iterations),
        residual=shaped(report.residual),
        transported_mass=shaped(report.mass),
        status=shaped(report.status),
        epsilon=shaped(report.epsilon),
        _f=shaped(found.f, n),
        _g=shaped(found.g, m),
        _matrix=shaped(arguments.cost, n, m),
        _mask=None if arguments.mask is None else shaped(arguments.mask, n, m),
        _adjoint=found.adjoint,
    )


def sinkhorn(
    D: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    epsilon: float | Tensor | None = None,
    kappa: Kappa = _INF,
    reference: str = "entropy",
    cost: str = "sharp",
    grad: str = "implicit",
    method: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    criterion: str = "marginal",
    init: Init = None,
    mask: Tensor | None = None,
    validate: str = "auto",
) -> Tensor:
    """Entropic optimal transport cost of D between a and b: a differentiable loss, one number per problem.

    Parameters
    ----------
    cost : {"sharp", "regularized"}
        "sharp" is ⟨D, P*⟩, what the papers call the discrepancy; "regularized" the whole minimum, entropy and KL terms
        included. They are different numbers.

    All other parameters, errors and warnings are those of :func:`wbm_ext.solve`.

    Returns
    -------
    Tensor, shape D.shape[:-2] (broadcast with the leading dimensions of a, b and mask)
        In the units of D; float32 for 16-bit D.

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
    arguments = prepare(
        D, a, b, epsilon, kappa, reference, grad, method, tol, max_iter, criterion, init, mask, validate
    )  # fmt: skip
    found = _run(arguments)
    value = found.sharp if cost == "sharp" else found.regularized
    return value if value.shape == arguments.batch else value.reshape(arguments.batch)
