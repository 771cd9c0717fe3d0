#!/usr/bin/env bash
# GeomLoss 0.3.1, torch 2.13.0.
# The derivative of the regularised transport value in the cost is the plan (envelope theorem). Differentiating
# ot.solve(C, ...).value gives twice that: value itself is right, as central differences of it show. Seen:
#     gradient over plan 2.00, central difference over plan 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check geomloss==0.3.1 torch==2.13.0 numpy==2.4.6
"$folder/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
from geomloss import ot

torch.manual_seed(0)
C = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
a, b = torch.full((5,), 0.2, dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)


def solve(cost):
    return ot.solve(cost, reg=0.1, a=a, b=b, max_iter=2000)


result = solve(C)
(gradient,) = torch.autograd.grad(result.value, C)
plan = result.plan.detach()
place = divmod(int(plan.argmax()), 4)
step = torch.zeros_like(plan)
step[place] = 1e-5
difference = float((solve(C.detach() + step).value - solve(C.detach() - step).value) / 2e-5)
ratio, finite = float(gradient.sum() / plan.sum()), difference / float(plan[place])
print(f"gradient over plan {ratio:.2f}, central difference over plan {finite:.2f}")
sys.exit(0 if abs(ratio - 2) < 0.02 and abs(finite - 1) < 0.02 else "no longer so")
PYTHON
