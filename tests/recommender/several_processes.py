"""Fits every system and writes its parameters; run alone and under torchrun by test_several_processes.py."""

from __future__ import annotations

import sys

import torch

from wbm_ext.datasets import make_ratings
from wbm_ext.recommender import create, systems
from wbm_ext.training import distributed

data = make_ratings(40, 50, density=0.2, test_per_user=10, random_state=0).train
parameters = {}
for name in systems():
    model = create(name, epochs=2, random_state=0, batch_size=65, dtype="float64").fit(data)
    parameters[name] = {**model.model_.state_dict(), "validation": torch.tensor(model.history_.best_validation)}
if distributed.is_first():
    torch.save({"processes": distributed.world_size(), "systems": parameters}, sys.argv[1])
