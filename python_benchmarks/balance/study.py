"""Two clouds, five ways to weigh them, and their evaluation by exact transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import ot
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

import wbm_ext
from wbm_ext import losses
from wbm_ext.metrics import effective_sample_size

SIZE = 100  # samples a cloud
SHIFTS = (0.9, 1.8, 2.7, 3.9)  # between the centres, in standard deviations: Bayes accuracy .67, .82, .91, .97
EPSILONS = (0.01, 0.05, 0.2)  # in units of mean(D)
CLIP = 0.01  # of every propensity, whoever learnt it
EPOCHS = 200
NLL = ("logistic regression", "support vector machine")
LEAST_SHARE = 0.25  # effective sample size over n that is asked for
HINGE_SHARE = 0.30  # below which the effective sample size is penalised in training
REDUCTION = 0.60  # of the exact discrepancy, against each NLL propensity


@dataclass(frozen=True, eq=False)
class Clouds:
    """Treated x and untreated y, (n, 2) each."""

    x: np.ndarray
    y: np.ndarray

    @property
    def points(self) -> np.ndarray:
        return np.concatenate([self.x, self.y])

    @property
    def treated(self) -> np.ndarray:
        return np.arange(2 * len(self.x)) < len(self.x)


@dataclass(frozen=True, eq=False)
class Weighting:
    """What a set of propensities does to the clouds.

    Attributes
    ----------
    propensity : ndarray (2n,)
        Clipped; treated samples first.
    a, b : ndarray (n,)
        Masses ∝ 1/q and ∝ 1/(1 - q), total 1.
    discrepancy : float
        Exact optimal transport cost (squared distance) between the reweighted sets.
    ess : (float, float)
        Effective sample sizes of treated and untreated.
    accuracy : float or None
        Share of samples with 1[q > 1/2] = treatment; None where q is no probability.
    score : callable or None
        Its zero is the decision boundary.
    curve : list of float
        WBM (sharp cost, units of D) by epoch.
    """

    propensity: np.ndarray
    a: np.ndarray
    b: np.ndarray
    discrepancy: float
    ess: tuple[float, float]
    accuracy: float | None = None
    score: Callable[[np.ndarray], np.ndarray] | None = None
    curve: list[float] = field(default_factory=list)


def clouds(shift: float, seed: int = 0) -> Clouds:
    """N(±shift/2 e₁, I): the same draws at every shift, moved apart."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((SIZE, 2)), rng.standard_normal((SIZE, 2))
    centre = np.array([shift / 2, 0.0])
    return Clouds(x + centre, y - centre)


def exact(data: Clouds, a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """Cost and plan of the linear programme, D squared Euclidean."""
    plan = ot.emd(a / a.sum(), b / b.sum(), ot.dist(data.x, data.y))
    return float((plan * ot.dist(data.x, data.y)).sum()), plan


def weigh(data: Clouds, propensity: np.ndarray, **more: object) -> Weighting:
    """Masses of Definition 3.1 (self-normalised) from propensities, and how far apart they leave the clouds."""
    q = np.clip(propensity, CLIP, 1 - CLIP)
    a, b = 1 / q[data.treated], 1 / (1 - q[~data.treated])
    a, b = a / a.sum(), b / b.sum()
    sizes = (effective_sample_size(a), effective_sample_size(b))
    return Weighting(q, a, b, exact(data, a, b)[0], sizes, **more)  # type: ignore[arg-type]


def entropic_plan(data: Clouds, w: Weighting, epsilon: float) -> np.ndarray:
    """The plan that WBM at ``epsilon`` × mean(D) transports the reweighted sets by."""
    D = torch.from_numpy(ot.dist(data.x, data.y))
    a, b = torch.from_numpy(w.a), torch.from_numpy(w.b)
    return wbm_ext.solve(D, a, b, epsilon=epsilon * float(D.mean()), tol=1e-6, max_iter=10_000).plan.numpy()


def uniform(data: Clouds) -> Weighting:
    return weigh(data, np.full(2 * SIZE, 0.5))


def likelihood(data: Clouds, kind: str) -> Weighting:
    """Propensities by negative log-likelihood: one of ``NLL``; the support vector machine gets Platt's scaling."""
    if kind == NLL[0]:
        model = LogisticRegression()
    else:
        model = CalibratedClassifierCV(SVC(), method="sigmoid", ensemble=False, cv=5)
    model.fit(data.points, data.treated)
    q = model.predict_proba(data.points)[:, 1]
    accuracy = float(((q > 0.5) == data.treated).mean())
    return weigh(data, q, accuracy=accuracy, score=lambda z: model.predict_proba(z)[:, 1] - 0.5)


def penalty(masses: Tensor) -> Tensor:
    """max(0, HINGE_SHARE n Σ w² - 1): zero from an effective sample size 1/Σw² of HINGE_SHARE n upwards."""
    return torch.relu(HINGE_SHARE * len(masses) * masses.square().sum() - 1)


def descend(
    data: Clouds, logits: Callable[[], Tensor], parameters: list[Tensor], epsilon: float, rate: float, hinge: bool
) -> Weighting:
    """Adam on WBM (cost over its mean) + the penalty of both sides, whole sets in a batch."""
    phi, treated = torch.from_numpy(data.points), torch.from_numpy(data.treated)
    scale = float(losses.squared_distances(phi[treated], phi[~treated]).mean())
    optimizer = torch.optim.Adam(parameters, lr=rate)
    curve = []
    for _ in range(EPOCHS):
        q = logits().sigmoid()
        value = losses.wbm(q, treated, phi, clip=CLIP, epsilon=epsilon, scale_cost=True, tol=1e-4, min_ess=0)
        loss = value
        if hinge:
            q = q.clamp(CLIP, 1 - CLIP)
            for side in (q[treated], 1 - q[~treated]):
                loss = loss + penalty(losses.inverse_propensity_masses(side))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(float(value.detach()) * scale)
    return weigh(data, logits().detach().sigmoid().numpy(), curve=curve)


def by_sample(data: Clouds, epsilon: float, hinge: bool = True) -> Weighting:
    """A propensity for each sample: the q ∈ R^(n+m) of Definition 3.1 itself."""
    logits = torch.zeros(2 * SIZE, dtype=torch.float64, requires_grad=True)
    return descend(data, lambda: logits, [logits], epsilon, 0.1, hinge)


def by_network(data: Clouds, epsilon: float) -> Weighting:
    """One function q(x) for both sides, a network 2-64-64-1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
        ).double()
    points = torch.from_numpy(data.points)
    return descend(data, lambda: net(points)[:, 0], list(net.parameters()), epsilon, 0.01, True)
