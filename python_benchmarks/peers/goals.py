"""The goals, and what a run's records say about each. Reads records only, so it works on any kept result."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass

from python_benchmarks._harness import Record
from python_benchmarks.peers.with_wbm import OURS

Records = dict[str, Record]
ON_CUDA = {  # section: least ratio over the fastest peer, largest n it is asked for at
    "graph": (3.0, 1024),
    "residual": (20.0, 1024),
    "points": (1.0, 4096),
}
PLAIN = (  # (peers by the beginning of their names, words, least ratio, least ratio at n = 2048)
    ("POT sinkhorn,", "POT's fastest Sinkhorn", 12.0, 9.0),
    ("OTT-JAX lse", "OTT-JAX, log domain", 20.0, 20.0),
    ("POT sinkhorn_log, torch", "sinkhorn_log in torch", 30.0, 30.0),
)
SHARE = {(1024, 1): 0.9, (1024, 2): 0.75, (2048, 1): 0.7, (2048, 2): 0.6}
TIGHT_RATIO = {
    "0.01": {64: 50.0, 256: 300.0, 512: 300.0, 1024: 100.0},
    "0.05": dict.fromkeys((64, 256, 512, 1024), 10.0),
}
TIGHT_SECONDS = {
    "0.01": {64: 0.2e-3, 256: 1.8e-3, 512: 5.5e-3, 1024: 30e-3},
    "0.003": {64: 0.4e-3, 256: 2.5e-3, 512: 13e-3, 1024: 32e-3},
}
BATCH_SECONDS, BATCH_RATIO = 0.8e-3, (("POT solve_batch", 60.0), ("OTT-JAX", 20.0))
BACKWARD = {"0.003": 0.3, "0.01": 0.3, "0.05": 0.7}
MEMORY_MIB, THREAD_SHARE = 20.0, 0.9
SAFEGUARD = 1.1  # times the plain solve, at the 95th percentile
LATENCY_SECONDS = {"no gradient": 40e-6, "forward + backward": 150e-6}


@dataclass(frozen=True)
class Verdict:
    """One goal: ``value`` against ``goal``; ``met`` is None where there is no goal for this case or no value."""

    section: str
    case: str
    what: str
    value: float | None
    goal: float | None
    least: bool = True
    unit: str = "x"
    ours: float | None = None
    peer: str = ""
    theirs: float | None = None

    @property
    def met(self) -> bool | None:
        if self.value is None or self.goal is None:
            return None
        return (operator.ge if self.least else operator.le)(self.value, self.goal)


def median(record: Record | None) -> float | None:
    """Seconds of a record that was timed."""
    return record["seconds"]["median"] if record and "seconds" in record else None


def split(records: Records, section: str) -> dict[str, Records]:
    """case -> subject -> record."""
    cases: dict[str, Records] = {}
    for key, record in records.items():
        name, case, subject = key.split("|")
        if name == section:
            cases.setdefault(case, {})[subject] = record
    return cases


def own_time(subjects: Records) -> float | None:
    """This solver's median; the mean of both where it was measured before and after the peers."""
    times = [t for t in (median(subjects.get(OURS)), median(subjects.get(f"{OURS}, again"))) if t is not None]
    return sum(times) / len(times) if times else None


def fastest(subjects: Records, beginning: str = "") -> tuple[str, float] | None:
    """(name, seconds) of the fastest timed peer whose name begins so."""
    found = {
        name: time
        for name, record in subjects.items()
        if name.startswith(beginning) and not name.startswith(OURS) and (time := median(record)) is not None
    }
    return min(found.items(), key=lambda item: item[1]) if found else None


def _ratio(section: str, case: str, what: str, ours: float | None, peer: tuple[str, float] | None, goal: float | None):
    value = peer[1] / ours if ours and peer else None
    return Verdict(section, case, what, value, goal, ours=ours, peer=peer[0] if peer else "", theirs=peer and peer[1])


def _number(case: str, name: str = "n") -> int:
    found = re.search(rf"{name}=(\d+)", case)
    return int(found[1]) if found else 0


def _iterations(records: Records) -> Iterator[Verdict]:
    for case, subjects in split(records, "iterations").items():
        n = _number(case)
        for beginning, words, goal, goal_2048 in PLAIN:
            least = goal_2048 if n == 2048 else goal
            yield _ratio(
                "iterations", case, f"over {words}", own_time(subjects), fastest(subjects, beginning),
                least if n in (128, 256, 512, 1024, 2048) else None,
            )  # fmt: skip


def _bandwidth(records: Records) -> Iterator[Verdict]:
    for case, subjects in split(records, "bandwidth").items():
        record = subjects[OURS]
        goal = SHARE.get((_number(case), _number(case, "threads")))
        yield Verdict(
            "bandwidth", case, "share of memory speed", record.get("share"), goal, unit="",
            ours=record.get("per_iteration"),
        )  # fmt: skip


def _tight(records: Records) -> Iterator[Verdict]:
    cases: dict[str, list[Records]] = {}
    for case, subjects in split(records, "tight").items():
        cases.setdefault(case.rsplit(", seed=", 1)[0], []).append(subjects)
    for case, seeds in cases.items():
        epsilon, n = case.split(",")[0].removeprefix("eps="), _number(case)
        times = [own_time(subjects) for subjects in seeds]
        worst = None if None in times else max(times)
        yield Verdict(
            "tight", case, f"slowest of {len(seeds)} seeds", worst, TIGHT_SECONDS.get(epsilon, {}).get(n), least=False,
            unit="s", ours=worst,
        )  # fmt: skip
        pairs = [(own_time(subjects), fastest(subjects)) for subjects in seeds]
        verdicts = [_ratio("tight", case, "", o, p, TIGHT_RATIO.get(epsilon, {}).get(n)) for o, p in pairs if o and p]
        what = f"over the fastest peer, least of {len(verdicts)} of {len(seeds)} seeds"
        if not verdicts:
            yield Verdict("tight", case, "no peer gets there", None, TIGHT_RATIO.get(epsilon, {}).get(n))
            continue
        low = min(verdicts, key=lambda v: v.value or 0.0)
        yield Verdict(
            "tight", case, what, low.value, low.goal, ours=low.ours, peer=low.peer, theirs=low.theirs
        )  # fmt: skip


def _batch(records: Records) -> Iterator[Verdict]:
    for case, subjects in split(records, "batch").items():
        ours, full = own_time(subjects), case.startswith("256 of 32 x 32")
        goal = BATCH_SECONDS if full else None
        yield Verdict("batch", case, "forward and backward", ours, goal, least=False, unit="s", ours=ours)
        for beginning, ratio in BATCH_RATIO:
            what = f"over {beginning}, fastest with a true gradient"
            yield _ratio("batch", case, what, ours, fastest(subjects, beginning), ratio if full else None)


def _own(records: Records) -> Iterator[Verdict]:
    for case, subjects in split(records, "backward").items():
        record = subjects[OURS]
        goal = BACKWARD.get(case.split(",")[0].removeprefix("eps="))
        yield Verdict(
            "backward", case, "over own forward", record.get("ratio"), goal, least=False, ours=median(record)
        )  # fmt: skip
    for case, subjects in split(records, "memory").items():
        goal = MEMORY_MIB if case == "n=1024, 1000 iterations" else None
        extra = subjects[OURS].get("extra_mib")
        yield Verdict("memory", case, "beyond D and dD", extra, goal, least=False, unit="MiB")
    for case, subjects in split(records, "latency").items():
        time = own_time(subjects)
        yield Verdict("latency", case, "4 x 4", time, LATENCY_SECONDS[case], least=False, unit="s", ours=time)
    for case, subjects in split(records, "threads").items():
        goal = THREAD_SHARE if case == "n=1024" else None
        yield Verdict(
            "threads", case, "2 over 1, over a multiply-add loop's", subjects[OURS].get("share"), goal, unit=""
        )
    for case, subjects in split(records, "safeguard").items():
        record = subjects[OURS]
        if "ratio" not in record:
            continue
        what = f"95th percentile of {record['timed']} problems"
        yield Verdict("safeguard", case, what, record["ratio"]["95"], SAFEGUARD, least=False)
        yield Verdict("safeguard", case, "with a worse residual", len(record["worse"]), 0, least=False, unit="")


def _on_cuda(records: Records) -> Iterator[Verdict]:
    for section, (least, largest) in ON_CUDA.items():
        for case, subjects in split(records, section).items():
            n = _number(case) or int(case.split(" x ")[1].split(",")[0])
            goal = least if n <= largest else None
            yield _ratio(section, case, "over the fastest peer", own_time(subjects), fastest(subjects), goal)


def verdicts(records: Records) -> list[Verdict]:
    """All that the records can say, in the order of the sections."""
    parts = (_iterations, _bandwidth, _tight, _batch, _own, _on_cuda)
    return [verdict for part in parts for verdict in part(records)]
