"""
Propensities that balance
=========================

Treated units differ from untreated ones. Propensities are trained on likelihood plus WBM; weighted by them, the groups
come together. The effective sample size says what this costs.
"""

import matplotlib.pyplot as plt
import torch

import wbm_ext

rng = torch.Generator().manual_seed(0)
phi = torch.randn(400, 2, generator=rng)
treated = torch.rand(400, generator=rng) < torch.sigmoid(1.2 * phi[:, 0] - 0.6 * phi[:, 1])

weights = torch.zeros(3, requires_grad=True)
optimiser = torch.optim.Adam([weights], lr=0.05)
record = []
for _step in range(80):
    q = torch.sigmoid(phi @ weights[:2] + weights[2])
    found = wbm_ext.losses.balance(q, treated, phi)
    loss = torch.nn.functional.binary_cross_entropy(q, treated.float()) + found.value
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    record.append((float(found.value.detach()), float(found.ess_treated), float(found.ess_other)))

# %%
# Distance between the weighted groups, and how many samples the weights are worth.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
value, ess_treated, ess_other = zip(*record, strict=True)
left.plot(value)
left.set(xlabel="step", ylabel="WBM")
right.plot(ess_treated, label=f"treated, of {int(treated.sum())}")
right.plot(ess_other, label=f"untreated, of {int((~treated).sum())}")
right.set(xlabel="step", ylabel="effective sample size", ylim=(0, None))
right.legend()
plt.show()
