#!/usr/bin/env bash
# POT 0.9.7.post1, numpy 2.4.6.
# ot.solve(M, reg=..., reg_type="kl", unbalanced=..., unbalanced_type="kl") returns a right plan and a right value_linear,
# but a value of about 1e-10 whatever the input: the linear cost and the penalties are not in it. With reg_type="entropy"
# the value is the objective. Seen:
#     kl       value 4.225e-10  objective of its plan 1.0952
#     entropy  value 0.6766   objective of its plan 0.6766
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check pot==0.9.7.post1 numpy==2.4.6
"$folder/bin/python" - <<'PYTHON'
import sys

import numpy as np
import ot

rng = np.random.default_rng(0)
M = ot.dist(rng.normal(size=(20, 2)), rng.normal(size=(25, 2)) + 1)
a, b = np.full(20, 1 / 20), np.full(25, 1 / 25)
reg, relaxed = 0.1, 1.0


def kl(p, q):  # 0 log 0 = 0
    return float((p * np.log(np.maximum(p, 1e-300) / q) - p + q).sum())


found = {}
for kind in ("kl", "entropy"):
    result = ot.solve(M, a, b, reg=reg, reg_type=kind, unbalanced=relaxed, unbalanced_type="kl")
    P = result.plan
    strength = kl(P, a[:, None] * b) if kind == "kl" else kl(P, np.ones_like(P)) - P.size
    objective = float((M * P).sum()) + reg * strength + relaxed * (kl(P.sum(1), a) + kl(P.sum(0), b))
    found[kind] = float(result.value), objective
    print(f"{kind:8s} value {found[kind][0]:.4g}  objective of its plan {objective:.4f}")
as_seen = abs(found["kl"][0]) < 1e-6 < 0.1 < found["kl"][1] and abs(np.subtract(*found["entropy"])) < 1e-3
sys.exit(0 if as_seen else "no longer so")
PYTHON
