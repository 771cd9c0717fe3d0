"""The same problems solved by other libraries to the same achieved residual, with the peers benchmark's adapters."""

from __future__ import annotations

import importlib.util

from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record, Store, Task
from python_benchmarks._problems import clouds
from python_benchmarks.complexity.options import Options
from python_benchmarks.peers.loaded import load
from python_benchmarks.peers.registry import Peer
from python_benchmarks.peers.single import AGAIN, OURS
from python_benchmarks.peers.subjects import Limits, to_residual

TARGET = 1e-6  # residual that every plan must achieve
EXPECTED = {1024: 12.0, 256: 4.0}  # mean seconds of a library by n: those that do not get there try until the cap
ON_CUDA = {"flash-sinkhorn": "flash_sinkhorn", "curegot": "curegot"}  # distribution: module


def tasks(options: Options) -> list[Task]:
    """Every installed peer between two measurements of this solver, on the CPU, float64."""
    limits = Limits(budget=options.peer_budget, cap=options.peer_cap)
    installed = [(p.name, p) for p in load()[0] if p.single and not p.absent()]
    found = []
    for epsilon in options.peer_epsilons:
        for n in options.peer_sizes:
            for name, peer in [(OURS.name, OURS), *installed, (AGAIN, OURS)]:

                def run(store: Store, epsilon: float = epsilon, n: int = n, peer: Peer = peer) -> Record:
                    problem = clouds(n, epsilon, 0, "float64")
                    with harness.threads(options.threads):
                        record = to_residual(peer, problem, TARGET, limits, samples=True)
                        if peer is OURS and record.get("reached"):
                            result = peer.prepare(problem, record["tolerance"], limits.most).call()
                            record["iterations"] = int(result.iterations)
                    return {"device": "cpu", "n": n, "m": n, "relative_epsilon": epsilon} | record

                found.append(Task(f"peers|cpu, n={n}, eps={epsilon:g}|{name}", run, EXPECTED.get(n, 3.0)))
    return found


def left_out(devices: tuple[str, ...]) -> list[str]:
    """One line for each library that takes no part, with the reason."""
    lines = {reason for p in load()[0] if (reason := p.absent())}
    for package, module in ON_CUDA.items():
        if "cuda" not in devices:
            lines.add(f"{package} runs on CUDA only")
        elif importlib.util.find_spec(module) is None:
            lines.add(f"{package} is not installed")
        else:
            lines.add(f"{package} is installed, but has no adapter here")
    if "cuda" in devices:
        lines.add("POT, GeomLoss, OTT-JAX, mdot-tnt and compiled torch are measured on the CPU only")
    return sorted(lines)
