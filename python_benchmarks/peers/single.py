"""Sections on single problems: plain iterations, share of memory speed, time to a tight residual."""

from __future__ import annotations

from collections.abc import Callable

from python_benchmarks._harness import Record, Store, Task, measure, threads
from python_benchmarks._problems import clouds
from python_benchmarks.peers import loops, with_wbm
from python_benchmarks.peers.loaded import load
from python_benchmarks.peers.options import Options
from python_benchmarks.peers.registry import Peer
from python_benchmarks.peers.subjects import fixed, to_residual

OURS = Peer(with_wbm.OURS, "wbm_ext", "wbm_ext", with_wbm.prepare, order="rows")
AGAIN = f"{with_wbm.OURS}, again"  # measured once more after the peers; shows drift
TIGHT = {0.01: (64, 256, 512, 1024), 0.05: (64, 256, 512, 1024), 0.003: (64, 256, 512, 1024)}
CLOSE_RACE = 2  # peers timed on every seed: the fastest of those that got there on the first


def present(peers: list[Peer], options: Options) -> list[Peer]:
    """Peers that are here on the run's device, narrowed by ``--only``."""
    wanted = [p for p in peers if not options.only or any(text in p.name for text in options.only)]
    return [p for p in wanted if not p.absent(options.device)]


def iterations(options: Options) -> list[Task]:
    """100 plain iterations, float32, ε = 0.05 mean(D)."""
    tasks = []
    for n in options.pick((128, 256, 512, 1024, 2048), (64, 128)):
        peers = [(p.name, p) for p in present(load().single, options) if p.single and p.counts]
        for name, peer in [(OURS.name, OURS), *peers, (AGAIN, OURS)]:

            def run(store: Store, n: int = n, peer: Peer = peer) -> Record:
                with threads(max(options.threads)):
                    return fixed(peer, clouds(n, 0.05), 100, options.limits)

            tasks.append(Task(f"iterations|n={n}|{name}", run))
    return tasks


def bandwidth(options: Options) -> list[Task]:
    """Time of one more iteration (240 against 40) beside plain sums of an array of the same size."""
    tasks = []
    for n in options.pick((1024, 2048), (128,)):
        for count in options.threads:

            def run(store: Store, n: int = n, count: int = count) -> Record:
                problem, array = clouds(n, 0.05), clouds(n, 0.05).D
                with threads(count):
                    short, long = (
                        measure(OURS.prepare(problem, 0.0, k).call, options.limits.budget) for k in (40, 240)
                    )
                    sums = {"torch": measure(_sum_of(array), options.limits.budget).median}
                    if loops.library():
                        sums["compiled"] = loops.read_seconds(array, count, options.limits.budget)
                each = (long.median - short.median) / 200
                return {
                    "seconds": long.record(),
                    "per_iteration": each,
                    "sums": sums,
                    "share": min(sums.values()) / each,
                    "gigabytes_per_second": array.nbytes / each / 1e9,
                }

            tasks.append(Task(f"bandwidth|n={n}, threads={count}|{OURS.name}", run))
    return tasks


def _sum_of(array: object) -> Callable[[], object]:
    import torch

    return torch.as_tensor(array).sum


def tight(options: Options) -> list[Task]:
    """To residual 1e-9 in float64; every seed for this solver and for the fastest peers of the first seed."""
    tasks = []
    for epsilon in options.pick((0.01, 0.05, 0.003), (0.05,)):
        for n in options.pick(TIGHT[epsilon], (32,)):
            case = f"eps={epsilon:g}, n={n}"
            for seed in range(options.seeds):
                for peer in (OURS, *(p for p in present(load().single, options) if p.single)):

                    def run(
                        store: Store, epsilon: float = epsilon, n: int = n, seed: int = seed, peer: Peer = peer,
                        case: str = case,
                    ) -> Record:  # fmt: skip
                        if seed > 0 and peer is not OURS and peer.name not in fastest(store.records, case):
                            return {"skipped": "not among the fastest on the first seed"}
                        problem = clouds(n, epsilon, seed, "float64")
                        with threads(max(options.threads)):
                            return to_residual(peer, problem, 1e-9, options.limits, seed == 0 or peer is OURS)

                    tasks.append(Task(f"tight|{case}, seed={seed}|{peer.name}", run))
    return tasks


def fastest(records: dict[str, Record], case: str) -> list[str]:
    """The peers that got there on the first seed of ``case``, the fastest two."""
    prefix = f"tight|{case}, seed=0|"
    found = {
        key.removeprefix(prefix): record["seconds"]["median"]
        for key, record in records.items()
        if key.startswith(prefix) and "seconds" in record
    }
    found.pop(OURS.name, None)
    return sorted(found, key=found.__getitem__)[:CLOSE_RACE]
