"""
What ε and κ do to a plan
=========================

Two clouds, one of them with an outlier. A larger ε blurs the plan; a finite κ leaves the outlier behind.
"""

import matplotlib.pyplot as plt
import torch

import wbm_ext

rng = torch.Generator().manual_seed(0)
x = torch.randn(12, 2, generator=rng) * 0.5
y = torch.randn(12, 2, generator=rng) * 0.5 + torch.tensor([2.5, 0.3])
x[0] = torch.tensor([-1.2, 3.0])
D = wbm_ext.losses.squared_distances(x, y)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharex=True, sharey=True, layout="constrained")
for axis, (epsilon, kappa) in zip(axes, [(0.05, torch.inf), (2.0, torch.inf), (0.05, 2.0)], strict=True):
    result = wbm_ext.solve(D, epsilon=epsilon, kappa=kappa, reference="product", max_iter=10000)
    strongest = float(result.plan.max())
    for i, row in enumerate(result.plan):
        for j, mass in enumerate(row.tolist()):
            if mass > 0.02 * strongest:
                ends = torch.stack([x[i], y[j]])
                axis.plot(*ends.T, color="0.35", lw=0.8, alpha=mass / strongest)
    axis.scatter(*x.T, s=22, label="rows")
    axis.scatter(*y.T, s=22, marker="s", label="columns")
    mass = float(result.transported_mass)
    axis.set_title(f"ε = {epsilon:g}, κ = {'∞' if kappa == torch.inf else f'{kappa:g}'}\nmass {mass:.2f}", fontsize=10)
axes[0].legend(fontsize=8, loc="upper right")
plt.show()
