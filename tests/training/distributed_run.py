"""What each of two processes does in the tests of data-parallel training: torchrun starts it, one folder as argument."""

from __future__ import annotations

import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbm_ext import losses
from wbm_ext.training import Run, Streams, distributed, train

Batch = namedtuple("Batch", ["x", "treated", "weight"])
SIZE, BATCH = 23, 9  # uneven batches of 9, 9, 5, uneven slices of each


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SIZE, 3, generator=generator, dtype=torch.float64)
    return x, torch.sigmoid(2 * x[:, 0]) > torch.rand(SIZE, generator=generator, dtype=torch.float64)


class Batches:
    def __init__(self, streams: Streams) -> None:
        (self.x, self.treated), self.order = data(), streams.torch("order")

    def __iter__(self) -> Any:
        for rows in torch.randperm(SIZE, generator=self.order).split(BATCH):
            # treated units first, so that of two ranks one may get none
            rows = rows[torch.argsort(~self.treated[rows], stable=True)]
            weight = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
            yield Batch(self.x[rows], self.treated[rows], weight)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.represent = nn.Linear(3, 2, dtype=torch.float64)
        self.propensity = nn.Linear(2, 1, dtype=torch.float64)
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones((), dtype=torch.float64))


def fit(streams: Streams | None = None, *, data_parallel: bool = True, **options: Any) -> tuple[Model, Any, list[int]]:
    """Likelihood as a sum over the slice, WBM of the gathered batch, a gradient to what is used after the gathering."""
    streams = Streams(7) if streams is None else streams
    # unlike on each rank that shares batches: rank 0's parameters must win
    torch.manual_seed(distributed.rank() if data_parallel else 0)
    model, treated_seen = Model(), []

    def step(batch: Batch) -> dict[str, torch.Tensor]:
        if not data_parallel:
            with distributed.off():
                return terms(batch)
        return terms(batch)

    def terms(batch: Batch) -> dict[str, torch.Tensor]:
        part = distributed.shard(batch)
        treated_seen.append(int(part.treated.sum()))
        phi = model.represent(part.x)
        logit = model.propensity(phi).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logit, part.treated.double(), reduction="none")
        whole = distributed.gather_batch({"phi": phi, "q": torch.sigmoid(logit)}, len(batch.x))
        balance = losses.wbm(
            whole["q"], batch.treated, whole["phi"] * model.scale, detach_representation=False, tol=1e-10
        )
        return {"likelihood": (part.weight * loss).sum(), "balance": distributed.share(balance)}

    def validate() -> float:
        x, treated = data()
        # each rank would judge otherwise: rank 0 decides
        value = nn.functional.binary_cross_entropy_with_logits(
            model.propensity(model.represent(x)).squeeze(1), treated.double()
        )
        return float(value) + 0.1 * distributed.rank() * data_parallel

    history = train(
        model,
        step,
        Batches(streams),
        **{
            "epochs": 6,
            "lr": 0.05,
            "weight_decay": 0.01,
            "validate": validate,
            "patience": 50,
            "state": {"streams": streams},
            "data_parallel": data_parallel,
            **options,
        },
    )
    return model, history, treated_seen


def primitives() -> dict[str, Any]:
    rank, world = distributed.rank(), distributed.world_size()
    found: dict[str, Any] = {"rank": rank, "world": world}
    x = torch.arange(10.0, dtype=torch.float64).reshape(5, 2).requires_grad_()
    whole = distributed.gather_batch(distributed.shard(x), 5)
    (distributed.share((whole**2).sum()) * (rank + 1)).backward()
    found["gathered"], found["gradient"] = whole.detach(), x.grad
    mixed = {"a": torch.arange(3.0), "flag": torch.tensor([True, False, True]), "id": torch.arange(3)}
    found["mixed"] = distributed.gather_batch(distributed.shard(mixed), 3)
    found["few"] = distributed.gather_batch(distributed.shard(torch.ones(1, 2)), 1)
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.full((2,), rank + 1.0)
    if rank == 1:
        parameters[1].grad = torch.full((2,), 5.0)
    distributed.sum_gradients(parameters)
    found["summed"] = [parameter.grad for parameter in parameters]
    found["agreed"] = (distributed.from_first(rank + 10), distributed.any_rank(rank == 1), distributed.any_rank(False))
    found["entropy"] = str(Streams(None).entropy)
    with distributed.off():
        found["off"] = (distributed.world_size(), Streams(None).entropy != int(found["entropy"]))
    return found


def main(folder: Path) -> None:
    distributed.start()
    torch.save(primitives(), folder / f"primitives-{distributed.rank()}.pt")
    for name, options in {
        "sharded": {"checkpoint": folder / "checkpoint", "log": folder / "log"},
        "longer": {"checkpoint": folder / "checkpoint", "log": folder / "log", "resume": True, "epochs": 9},
        "impatient": {"patience": 3, "epochs": 50},
        "stopped": {"callbacks": [lambda epoch, record: distributed.rank() == 1 and epoch == 2]},
    }.items():
        model, history, treated = fit(**options)
        result = {
            "model": model.state_dict(),
            "records": history.records,
            "treated": treated,
            "stopped": history.stopped,
        }
        torch.save(result, folder / f"{name}-{distributed.rank()}.pt")
    # replicas: each rank trains on whole batches, rank 0 alone writes; the second stage shares the batches
    staged = {}
    for _ in range(2):
        run = Run(None, configuration={}, checkpoint=folder / "staged", resume=True)
        for stage in ("first", ""):
            model, history, _ = fit(run.streams, data_parallel=not stage, **run.options(stage))
            staged[stage] = {"model": model.state_dict(), "records": history.records}
        torch.save(staged, folder / f"staged-{distributed.rank()}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
