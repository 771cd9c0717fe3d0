"""
Small ε, and a warm start
=========================

Passes over the matrix until the residual is below 1e-9: plain iterations, ``method="auto"``, and a solve that starts
from the potentials of a neighbouring problem.
"""

import matplotlib.pyplot as plt
import torch

import wbm_ext

rng = torch.Generator().manual_seed(0)
x, y = (torch.randn(60, 2, generator=rng, dtype=torch.float64) for _ in range(2))
D = wbm_ext.losses.squared_distances(x, y)
shares = [0.2, 0.1, 0.05, 0.02, 0.01]
passes = {"plain": [], "auto": [], "auto, warm": []}
for share in shares:
    options = {"epsilon": share * float(D.mean()), "tol": 1e-9, "max_iter": 200000}
    plain = wbm_ext.solve(D, method="sinkhorn", **options)
    auto = wbm_ext.solve(D, **options)
    near = wbm_ext.solve(D + 1e-4 * torch.rand(60, 60, generator=rng, dtype=torch.float64), init=auto, **options)
    for name, result in zip(passes, (plain, auto, near), strict=True):
        assert result.converged
        passes[name].append(int(result.iterations))

figure, axis = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for name, marker in zip(passes, "os^", strict=True):
    axis.loglog(shares, passes[name], marker=marker, label=name)
axis.invert_xaxis()
axis.set(xlabel="ε / mean cost", ylabel="passes over the matrix")
axis.legend()
plt.show()
