"""The complexity study at sizes that take seconds."""

from __future__ import annotations

from dataclasses import replace


def tiny(options):
    return replace(
        options, devices=("cpu",), runs=2, escfr_runs=2, least=1e-4, batches=(16, 64), dimensions=(2, 4), taus=(1e-3, 1e-6),
        tau_batch=16, tight=1e-6, goal_shapes=((12, 10),), goal_dimension=4, escfr_batches=(32,), epsilons=(1.0,),
        kappas=(1.0,), peer_sizes=(16,), peer_epsilons=(0.05,), peer_cap=0.2, peer_budget=0.001, limit_sizes=(64,),
        memory=1 << 20,
    )  # fmt: skip


def run(command, folder, *words, sections=("wbm", "goal", "escfr", "limits")):
    line = ["--quick", "--threads", "1", "--no-pin", "--out", str(folder)]
    return command.main([*line, *(word for name in sections for word in ("--section", name)), *words], grid=tiny)
