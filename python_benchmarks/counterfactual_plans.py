"""The ESCFR paper's Fig. 2 and 4, and its PFOR: which units does a plan join, and at what κ and γ the right ones?

    python -m python_benchmarks.counterfactual_plans [--out results/counterfactual_plans]

A treated unit should be joined to untreated ones of the same outcome. Plain transport must move all mass: where one
group of a batch has more units of an outcome than the other it joins across outcomes (Fig. 2 b), and an outlier is
joined to somebody (Fig. 2 c). Relaxed mass preservation (RMPR) leaves such units behind: the text of section 4.3 names
κ = 10 for the imbalance and κ = 2 for the outlier (Fig. 4), which is what is checked, for both references. PFOR
(Eq. 12) is checked where r does not show a confounder but outcomes do: plain transport joins across its values, D^γ
does not. The command exits with 1 where a claim fails; a plan without RMPR or PFOR has to show the fault.

Choices that the text leaves open. It gives κ without the scale of D: here r = (position, outcome), two outcomes are 8
apart, positions about 1, so that a pair across outcomes costs 64 against 2κ = 20, the most that leaving it out costs
a unit of mass. ε = .1. γ = 1 for PFOR, whose predicted outcomes are the true ones: it is the cost that is shown, not
training. All units are fixed in the module; each plan is that of ``wbm_ext.losses.escfr_transport``.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from python_benchmarks import _harness as harness
from wbm_ext import losses
from wbm_ext.plots import TransportPanel, plot_transport

EPSILON = 0.1
GAP = 8.0  # between the two outcomes
GAMMA = 1.0
INF = float("inf")
KAPPA = {"outcome imbalance": 10.0, "outlier": 2.0}  # named in section 4.3
FIRM = 1000.0  # κ at which the faults are still there
DRAWN = (FIRM, 10.0, 2.0)
REFERENCES = ("entropy", "product")
LEAK = 0.01  # of the mass that may go where it should not


@dataclass(frozen=True, eq=False)
class Units:
    """A mini-batch: representation r (B, 2), treatment, what marks a right match, outcomes of both arms (B, 2)."""

    r: np.ndarray
    treated: np.ndarray
    kind: np.ndarray
    outcomes: np.ndarray
    outlier: int | None = None  # position among the treated


def cluster(rng: np.random.Generator, count: int, treated: bool, outcome: int) -> np.ndarray:
    centre = np.array([-0.5 if treated else 0.5, GAP * outcome])
    return centre + rng.standard_normal((count, 2)) * np.array([0.6, 0.3])


def batch(high: int, low: int, other_high: int, other_low: int, outlier: tuple[float, float] | None = None) -> Units:
    """So many treated and untreated units of the high and of the low outcome; an outlier among the treated."""
    rng = np.random.default_rng(0)
    counts = ((high, True, 1), (low, True, 0), (other_high, False, 1), (other_low, False, 0))
    parts = [cluster(rng, count, treated, outcome) for count, treated, outcome in counts]
    treated = np.repeat([c[1] for c in counts], [c[0] for c in counts])
    kind = np.repeat([c[2] for c in counts], [c[0] for c in counts])
    r = np.concatenate(parts)
    if outlier is not None:
        r, treated, kind = np.vstack([outlier, r]), np.append(True, treated), np.append(-1, kind)
    return Units(r, treated, kind, np.stack([r[:, 1], r[:, 1]], 1), None if outlier is None else 0)


def confounded() -> Units:
    """Y⁰ = √(|r|² + X'²), Y¹ = Y⁰ + 1 with X' ∈ {0, 3}, which r (sd .6) does not show (toy of Appendix D.3)."""
    rng = np.random.default_rng(1)
    r = 0.6 * rng.standard_normal((16, 2))
    treated, kind = np.arange(16) < 8, np.arange(16) % 2
    untreated = np.sqrt((r**2).sum(1) + (3.0 * kind) ** 2)
    return Units(r, treated, kind, np.stack([untreated, untreated + 1.0], 1))


CASES = {
    "ideal": batch(4, 4, 4, 4),
    "outcome imbalance": batch(6, 2, 4, 4),
    "outlier": batch(4, 4, 4, 4, outlier=(11.0, GAP / 2)),
    "unobserved confounder": confounded(),
}


def transport(units: Units, kappa: float = INF, gamma: float = 0.0, reference: str = "entropy") -> losses.Discrepancy:
    """Plan of D^γ at κ; rows are the treated units."""
    t = torch.from_numpy(units.treated)
    arm = units.treated.astype(int)
    each = np.arange(len(arm))
    factual, other = (torch.from_numpy(units.outcomes[each, a]) for a in (arm, 1 - arm))
    return losses.escfr_transport(
        torch.from_numpy(units.r), t, factual, other, gamma=gamma, kappa=kappa, epsilon=EPSILON, distance_scale=1.0,
        reference=reference, tol=1e-9, max_iter=100_000,
    )  # fmt: skip


def plan_of(units: Units, **options: object) -> np.ndarray:
    result = transport(units, **options).result  # type: ignore[arg-type]
    assert result is not None
    return result.plan.numpy()


def crossing(units: Units, plan: np.ndarray, with_outlier: bool = False) -> float:
    """Share of the mass between units of different kinds; the outlier, of no kind, aside or with the others."""
    rows, columns = units.kind[units.treated], units.kind[~units.treated]
    counted = (rows >= 0) | with_outlier
    wrong = rows[counted, None] != columns[None, :]
    return float(plan[counted][wrong].sum() / plan[counted].sum())


@dataclass(frozen=True)
class Verdict:
    """One claim, the figure, its bound, and whether it holds."""

    claim: str
    value: float
    bound: str
    met: bool


def _most(claim: str, value: float, bound: float) -> Verdict:
    return Verdict(claim, value, f"<= {bound:g}", bool(value <= bound))


def _least(claim: str, value: float, bound: float) -> Verdict:
    return Verdict(claim, value, f">= {bound:g}", bool(value >= bound))


def verdicts() -> list[Verdict]:
    """What the two figures and Eq. 12 have to show."""
    ideal, skewed, strange = (CASES[name] for name in ("ideal", "outcome imbalance", "outlier"))
    share, n = 0.25, len(plan_of(strange))  # 6 of 8 treated against 4 of 8 untreated units have the high outcome
    lines = [
        _most("ideal, plain: mass across outcomes", crossing(ideal, plan_of(ideal)), LEAK),
        _least("outcome imbalance, plain: mass across outcomes", crossing(skewed, plan_of(skewed)), share - 1e-6),
        _least("outlier, plain: its mass, of 1/n", float(plan_of(strange)[0].sum() * n), 1 - 1e-6),
        _least(
            "outlier, plain: cost over that without it",
            float(transport(strange).value / transport(ideal).value),
            5.0,
        ),
        _least(
            f"outcome imbalance, κ = {FIRM:g}: mass across outcomes", crossing(skewed, plan_of(skewed, kappa=FIRM)), 0.1
        ),
        _least(f"outlier, κ = {FIRM:g}: its mass, of 1/n", float(plan_of(strange, kappa=FIRM)[0].sum() * n), 0.5),
    ]
    for reference in REFERENCES:
        name, kappa = "outcome imbalance", KAPPA["outcome imbalance"]
        plan = plan_of(skewed, kappa=kappa, reference=reference)
        lines.append(_most(f"{name}, κ = {kappa:g}, {reference}: mass across outcomes", crossing(skewed, plan), LEAK))
        lines.append(_least(f"{name}, κ = {kappa:g}, {reference}: mass moved", float(plan.sum()), 0.8))
        name, kappa = "outlier", KAPPA["outlier"]
        plan, whole = (plan_of(u, kappa=kappa, reference=reference) for u in (strange, ideal))
        lines.append(_most(f"{name}, κ = {kappa:g}, {reference}: its mass, of 1/n", float(plan[0].sum() * n), LEAK))
        lines.append(_most(f"{name}, κ = {kappa:g}, {reference}: mass across outcomes", crossing(strange, plan), LEAK))
        rest, alone = plan[1:] / plan[1:].sum(), whole / whole.sum()
        lines.append(
            _most(
                f"{name}, κ = {kappa:g}, {reference}: the others' plan against that without it, |.|₁",
                float(np.abs(rest - alone).sum()),
                0.05,
            )
        )
    units = CASES["unobserved confounder"]
    lines.append(_least("unobserved confounder, γ = 0: mass across it", crossing(units, plan_of(units)), 0.25))
    calibrated = crossing(units, plan_of(units, gamma=GAMMA))
    lines.append(_most(f"unobserved confounder, γ = {GAMMA:g}: mass across it", calibrated, LEAK))
    return lines


def panel(name: str, title: str, **options: object) -> TransportPanel:
    units = CASES[name]
    plan = plan_of(units, **options)
    points = np.stack([units.r[:, 0], units.outcomes[:, 0]], 1)
    x, y = points[units.treated], points[~units.treated]
    title = f"{title}\nmoved {plan.sum():.2f}, wrongly {crossing(units, plan, True):.1%}"
    return TransportPanel(title, x, y, plan.sum(1), plan.sum(0), plan=plan)


def figures() -> dict[str, Figure]:
    """Fig. 2 (plain plans, as matrices and between units), Fig. 4 (RMPR), and PFOR."""
    plain = [panel(name, name) for name in ("ideal", *KAPPA)]
    relaxed = [panel(name, f"{name}, κ = {k:g}", kappa=k, reference="product") for name in KAPPA for k in DRAWN]
    hidden = [panel("unobserved confounder", f"γ = {gamma:g}", gamma=gamma) for gamma in (0.0, GAMMA)]
    axes = ("position", "outcome")
    return {
        "plain": plot_transport(plain, matrices=True, labels=axes, title="Plain transport"),
        "relaxed": plot_transport(relaxed, columns=3, labels=axes, title="RMPR: light mass given, dark mass moved"),
        "calibrated": plot_transport(
            hidden, matrices=True, labels=("r₁", "Y⁰"), title="Unobserved confounder, in every second unit"
        ),
    }


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.counterfactual_plans",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--out", type=Path, default=Path("results/counterfactual_plans"), metavar="FOLDER")
    options = line.parse_args(argv)
    lines = verdicts()
    for found in lines:
        print(f"{'met' if found.met else 'MISSED':7s}{found.claim}: {found.value:.4f} ({found.bound})")
    content: harness.Record = {
        "benchmark": "counterfactual_plans",
        "date": str(datetime.date.today()),
        "setting": {"epsilon": EPSILON, "kappa": KAPPA, "gamma": GAMMA, "gap": GAP},
        "goals": [vars(found) for found in lines],
    }
    harness.write_json(options.out / "counterfactual_plans.json", content)
    for name, figure in figures().items():
        figure.savefig(options.out / f"{name}.png", dpi=110)
    print("wrote", options.out)
    return 0 if all(found.met for found in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
