"""The hyper-parameters of all neural systems in one place: values, the ranges searched for them, where they are from.

"paper" is "Sinkhorn Discrepancy for Counterfactual Generalization" (ESCFR), Section 4.1, Figure 5 and Appendix D.5;
"scripts" the training scripts its authors have published, of which several versions differ. Where a range for
IHDP is given, the scripts search it on that data set. The outcomes these values are meant for are not scaled.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from wbm_ext.errors import check_name


class Default(NamedTuple):
    """A value, the range the scripts search on IHDP (None: not searched), and its source."""

    value: Any
    ihdp: tuple[float, float] | None
    source: str


TABLE: dict[str, Default] = {
    # Networks: ψ and φ, two layers each.
    "representation": Default((60, 60), None, "paper D.5, scripts (copies: 16-16, 32-32)"),
    "heads": Default((60, 60), None, "paper D.5, scripts (copies: 32-32)"),
    "activation": Default("elu", None, "scripts; S- and T-learner: leaky_relu"),
    "factor": Default(30, None, "paper D.5: width of each factor of drcfr and mim-drcfr"),
    # Optimisation.
    "learning_rate": Default(1e-3, None, "scripts"),
    "weight_decay": Default(1e-4, None, "scripts"),
    "batch_size": Default(32, None, "paper Table 1 (64 in Table 6)"),
    "epochs": Default(400, None, "scripts"),
    "patience": Default(30, None, "scripts"),
    "min_epochs": Default(200, None, "scripts (copy: 100)"),
    "selection": Default("auuc", None, "paper 4.1"),
    # Share held out of what fit is given; the paper's 15 % of all units are 17.6 % of those outside its test part.
    "validation_fraction": Default(0.15, None, "paper C.1"),
    # Discrepancies. ε, κ and γ are in units of the cost, which is cost_scale |r_i - r_j|² + γ [...].
    "balance_weight": Default(1.0, None, "scripts, λ (copy: 2)"),
    "epsilon": Default(1.0, (0.5, 5.0), "scripts"),
    "kappa": Default(1.0, (0.1, 5.0), "scripts; paper D.2: 1 at batch 32, 5 at batch 128"),
    "gamma": Default(0.0005, (0.0001, 0.005), "scripts"),
    "cost_scale": Default(0.1, (0.5, 2.0), "scripts; 1 for cfr-wass"),
    "start_epoch": Default(20, None, "scripts"),
    "bandwidth": Default(1.0, None, "scripts, of the kernel of cfr-mmd"),
    # Disentangled systems.
    "treatment_weight": Default(1.0, None, "Hassanpour and Greiner 2020, β"),
    "orthogonality_weight": Default(0.01, None, "weight of the same penalty in CATENets' SNet"),
}


def default(name: str) -> Any:
    """Return the value of ``name`` in :data:`TABLE`."""
    return TABLE[name].value


# What the papers' tables rest on, where the defaults differ: no scaling of covariates and outcomes, costs as they are,
# the entropy of Eq. 8, a kernel of width 1; nearest neighbours as in the tables.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "scale": None, "scale_outcome": False, "cost_unit": None, "reference": "entropy",
        "bandwidth": default("bandwidth"),
    }
}  # fmt: skip
PRESET_NEIGHBORS = {"knn": 5, "psm": 1}


def preset(name: str, system: str, parameters: Collection[str]) -> dict[str, Any]:
    """Return the parameters that a preset gives to a system that has ``parameters``."""
    values = {**PRESETS[check_name("preset", name, PRESETS)], "n_neighbors": PRESET_NEIGHBORS.get(system)}
    return {key: value for key, value in values.items() if key in parameters}
