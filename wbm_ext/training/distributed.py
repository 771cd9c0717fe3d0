"""Data-parallel training: every rank takes its slice of the global batch, and all hold the same model.

The objective is the **sum over the ranks** of what ``step`` returns on each of them. A step written for it:

1. ``part = shard(batch)``: the slice of the global batch that is this rank's. All ranks draw the same global batch,
   from identically seeded streams;
2. runs the networks on ``part``;
3. either returns terms that are sums over the slice with the weights of the *global* batch; or gathers what the
   networks gave, ``out = gather_batch(out, size)``, computes any loss of the whole batch on it (a transport
   distance, a self-normalised mean), and returns ``share(term)``, the term divided by the number of ranks.

:func:`gather_batch` hands each rank the sum over the ranks of the gradients of its slice, so that 3. gives the gradient
of one process with the global batch: each rank contributes 1/world of the same objective, also for parameters
that are used after the gathering. ``train(..., data_parallel=True)`` sums the gradients of the parameters and the terms
over the ranks, decides on rank 0 when to stop, and lets rank 0 alone write and print.

In one process, or inside :func:`off`, all of these functions do nothing.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn

T = TypeVar("T")
_off = 0


def start(device: str | torch.device = "cpu") -> None:
    """Join the process group if ``torchrun`` has started this process and nobody has joined yet.

    gloo carries tensors of the CPU, NCCL those of GPUs; each process takes the GPU of its local rank.
    """
    if not dist.is_available() or dist.is_initialized() or not dist.is_torchelastic_launched():
        return
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(local_device(device))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    atexit.register(_leave)  # a group's threads that outlive the interpreter end the process by abort()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # what still refers to the group keeps its threads


def local_device(device: str | torch.device) -> torch.device:
    """Return ``device``; under ``torchrun``, "cuda" without an index is the GPU of the local rank."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def off() -> Iterator[None]:
    """Act as a single process inside, e.g. to fit a model on one rank only."""
    global _off
    _off += 1
    try:
        yield
    finally:
        _off -= 1


def is_distributed() -> bool:
    """Return whether several processes share this training."""
    return world_size() > 1


def world_size() -> int:
    """Return the number of processes, 1 where there is no group."""
    return dist.get_world_size() if not _off and dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def is_first() -> bool:
    """Return whether this process is the one that writes and prints."""
    return rank() == 0


# ---------------------------------------------------------------------- inside a step


def bounds(size: int, part: int | None = None) -> slice:
    """Return the rows of a global batch of ``size`` that rank ``part`` (default: this one) takes.

    The slices are contiguous, in the order of the ranks, and differ by at most one row; some are empty where there
    are fewer rows than ranks.
    """
    world = world_size()
    part = rank() if part is None else part
    least, more = divmod(size, world)
    begin = part * least + min(part, more)
    return slice(begin, begin + least + (part < more))


def shard(batch: T) -> T:
    """Return this rank's slice of ``batch``: a tensor, or a tuple, named tuple, list or dictionary of them.

    Every tensor is cut along its first axis; numbers and tensors without an axis stay as they are.

    Raises
    ------
    ValueError
        If the tensors differ in length.
    """
    if not is_distributed():
        return batch
    sizes = {len(tensor) for tensor in _tensors(batch) if tensor.dim()}
    if len(sizes) > 1:
        raise ValueError(f"batch must hold tensors of one length to be cut into slices; got {sorted(sizes)}")
    return _cut(batch, bounds(sizes.pop())) if sizes else batch


def gather_batch(values: T, size: int) -> T:
    """Return ``values`` of the whole batch from those of the slices, on every rank, in the order of the batch.

    Parameters
    ----------
    values : Tensor, shape (rows of this rank's slice, ...), or {name: Tensor}
    size : int
        Rows of the global batch.

    Returns
    -------
    The same, shape (size, ...). The gradient of a slice is the sum over the ranks of the gradients of its rows.

    Raises
    ------
    ValueError
        If the number of rows is not that of this rank's slice.
    """
    if not is_distributed():
        return values
    given: dict[str, torch.Tensor] = values if isinstance(values, dict) else {"": values}  # type: ignore[dict-item]
    window = bounds(size)
    for name, tensor in given.items():
        rows = window.stop - window.start
        if len(tensor) != rows:
            raise ValueError(f"values {name!r} must have the {rows} rows of this rank's slice; got {len(tensor)}")
    whole: dict[str, torch.Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in given.values()):
        # one message a dtype: the columns of all its tensors side by side
        names = [name for name, tensor in given.items() if tensor.dtype == dtype]
        columns = [given[name].reshape(len(given[name]), math.prod(given[name].shape[1:])) for name in names]
        together = _Gather.apply(torch.cat(columns, dim=1), size)
        for name, column in zip(names, together.split([column.shape[1] for column in columns], dim=1), strict=True):
            whole[name] = column.reshape(size, *given[name].shape[1:])
    return {name: whole[name] for name in given} if isinstance(values, dict) else whole[""]  # type: ignore[return-value]


def share(term: torch.Tensor) -> torch.Tensor:
    """Return this rank's share of a term that every rank computes alike: term / world size."""
    return term / world_size() if is_distributed() else term


class _Gather(torch.autograd.Function):
    """(b, k) of each rank -> (size, k) on every rank. Backward: the sum over the ranks, then the own rows."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, size: int) -> torch.Tensor:
        ctx.window = bounds(size)
        longest = -(-size // world_size())
        # gloo gathers equal shapes only: slices are filled up with a row of zeros
        padded = part.new_zeros(longest, part.shape[1])
        padded[: len(part)] = part.detach()
        parts = [torch.empty_like(padded) for _ in range(world_size())]
        dist.all_gather(parts, padded)
        lengths = [bounds(size, number) for number in range(world_size())]
        return torch.cat([piece[: window.stop - window.start] for piece, window in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.window], None


# ---------------------------------------------------------------------- inside the loop


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks; one that no rank has stays None."""
    if not is_distributed():
        return
    groups: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(parameter.dtype, []).append(parameter)
    for group in groups.values():
        # one message a dtype: which gradients there are, then all of them, zeros for those that are missing
        present = group[0].new_tensor([float(parameter.grad is not None) for parameter in group])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        message = torch.cat([present, *(gradient.detach().flatten() for gradient in gradients)])
        dist.all_reduce(message)
        counts, *sums = message.split([len(group), *(parameter.numel() for parameter in group)])
        for parameter, count, total in zip(group, counts.tolist(), sums, strict=True):
            parameter.grad = total.view_as(parameter) if count else None


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``values`` over the ranks, without a gradient."""
    if is_distributed():
        values = values.detach().clone()
        dist.all_reduce(values)
    return values


def from_first(value: T) -> T:
    """Return the ``value`` of rank 0, on every rank (plain values: it is pickled)."""
    if not is_distributed():
        return value
    box = [value if is_first() else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]


def any_rank(flag: bool) -> bool:
    """Return whether ``flag`` is set on some rank."""
    if not is_distributed():
        return flag
    votes: list[Any] = [None] * world_size()
    dist.all_gather_object(votes, bool(flag))
    return any(votes)


def copy_from_first(model: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if is_distributed():
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)


def _tensors(batch: Any) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, tuple | list | Mapping):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(value)


def _cut(batch: Any, window: slice) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch[window] if batch.dim() else batch
    if isinstance(batch, Mapping):
        return {name: _cut(value, window) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_cut(value, window) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
