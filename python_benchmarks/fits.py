"""What a fit costs: seconds to the end or to the early stop, the price of balancing, peak memory.

    python -m python_benchmarks.fits [--quick] [--only NAME ...] [--save]

One row a claim, each with its goal, on two threads:

- ``escfr``: 400 epochs at its default batch size on data of the shape of ACIC 2016 (4,802 units, 82 columns once labels
  are 0/1 ones), every epoch evaluated, in less than 90 s;
- ``escfr over tarnet``: the same at batch 128, both systems in turn so that whatever slows the machine slows both, at
  most 1.3 times; both balance from the first epoch on;
- ``dr-wbm on Coat``: to the early stop in less than 60 s, on the ratings under ``WBM_DATA`` or, where there are none,
  on generated ones of their shape (290 x 300, 6,960);
- ``music``: one pass of ``dr-wbm`` over 311,704 ratings of 15,400 x 1,000, 1,024 observed and 1,024 other pairs a step,
  in less than 30 s;
- ``kuairec``: one pass of ``multi-dr`` over 12.5 million ratings of 7,176 x 10,728 with a peak below 2 GiB.

Times are to be taken on a quiet machine only. A run that was interrupted goes on where it stopped; the command exits
with 1 where a goal is missed and ``--quick`` is not given.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from python_benchmarks import _harness as harness
from python_benchmarks import _steps as steps
from wbm_ext import ite, recommender
from wbm_ext.datasets import Ratings, load, make_treatments

HERE = Path(__file__).resolve().parent
KUAIREC = steps.Shape(7_176, 10_728, 12_500_000)
BATCH = 128  # of the race
LONG = 10**6  # patience that never ends a fit


class Size(NamedTuple):
    """How much of each measurement: all of it, or enough to see that it works."""

    units: int
    columns: int
    epochs: int
    race_epochs: int
    pairs: int  # of the race, beside the one that warms up
    coat: steps.Shape | None  # None: the real ratings where there are some
    music: steps.Shape
    kuairec: steps.Shape


FULL = Size(4_802, 82, 400, 20, 5, None, steps.MUSIC, KUAIREC)
QUICK = Size(300, 5, 3, 2, 1, steps.Shape(60, 50, 600), steps.Shape(200, 100, 3_000), steps.Shape(200, 300, 10_000))


class Claim(NamedTuple):
    """What is measured: ``run(size, threads)`` gives its samples, ``most`` is the goal in ``unit``."""

    text: str
    unit: str
    most: float
    run: Callable[[Size, int], list[float]]
    repeats: int  # runs; the samples of all of them are summarised
    expected: float  # seconds of one run


def timed(model: Any, *data: Any, **named: Any) -> float:
    begin = time.perf_counter()
    model.fit(*data, **named)
    return time.perf_counter() - begin


def effects(name: str, size: Size, epochs: int, **params: Any) -> float:
    """Seconds of a fit of ``epochs`` epochs, none of which is left out."""
    data = make_treatments(size.units, size.columns, random_state=0)
    model = ite.create(name, epochs=epochs, patience=LONG, random_state=0, **params)
    return timed(model, data.X, data.y, treatment=data.treatment)


def escfr(size: Size, threads: int) -> list[float]:
    with harness.threads(threads):
        return [effects("escfr", size, size.epochs)]


def escfr_over_tarnet(size: Size, threads: int) -> list[float]:
    """Quotients of neighbouring fits, in changing order; the first pair warms up."""
    quotients = []
    with harness.threads(threads):
        for turn in range(1 + size.pairs):
            names = ("tarnet", "escfr") if turn % 2 else ("escfr", "tarnet")
            taken = {}
            for name in names:
                balanced = {"start_epoch": 0} if name == "escfr" else {}
                taken[name] = effects(name, size, size.race_epochs, batch_size=BATCH, **balanced)
            quotients.append(taken["escfr"] / taken["tarnet"])
    return quotients[1:]


def coat(size: Size) -> Ratings:
    """The real training ratings where ``WBM_DATA`` has them, else generated ones of their shape."""
    if size.coat is None and (Path(os.environ.get("WBM_DATA", "")) / "coat" / "train.ascii").is_file():
        return load("coat").train  # type: ignore[union-attr]
    shape = size.coat or steps.COAT
    data = steps.generate(shape)
    return Ratings(
        data.keys // shape.items, data.keys % shape.items, 1 + 2 * data.labels, shape.users, shape.items
    )  # 3 is the threshold


def dr_wbm(size: Size, threads: int) -> list[float]:
    with harness.threads(threads):
        return [timed(recommender.create("dr-wbm", random_state=0), coat(size))]


def large(shape: steps.Shape, system: str, batch: int, threads: int) -> dict[str, float]:
    """What a process of its own prints that fits ``system``."""
    numbers = (shape.users, shape.items, shape.ratings)
    command = [sys.executable, "-m", "python_benchmarks._large_fit", *map(str, numbers), system, str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, text=True, capture_output=True, check=False, cwd=HERE.parent, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    return json.loads(done.stdout)


def music(size: Size, threads: int) -> list[float]:
    return [large(size.music, "dr-wbm", 1024, threads)["seconds"]]


def kuairec(size: Size, threads: int) -> list[float]:
    return [large(size.kuairec, "multi-dr", 65_536, threads)["memory"]]


CLAIMS = {
    "escfr": Claim("escfr, 400 epochs, ACIC-shaped", "s", 90, escfr, 3, 90),
    "escfr over tarnet": Claim("escfr over tarnet, batch 128, ACIC-shaped", "times", 1.3, escfr_over_tarnet, 1, 15),
    "dr-wbm on Coat": Claim("dr-wbm to early stop, Coat", "s", 60, dr_wbm, 3, 30),
    "music": Claim("dr-wbm, one pass, Music-shaped", "s", 30, music, 3, 30),
    "kuairec": Claim("multi-dr, peak memory, KuaiRec-shaped", "MiB", 2048, kuairec, 1, 90),
}  # fmt: skip


def measured(name: str, size: Size, threads: int) -> harness.Record:
    claim = CLAIMS[name]
    found = [sample for _ in range(claim.repeats if size is FULL else 1) for sample in claim.run(size, threads)]
    return {"unit": claim.unit, "most": claim.most, "found": harness.summarize(found).record(samples=True)}


def met(record: harness.Record) -> bool:
    return "error" not in record and record["found"]["median"] <= record["most"]


def show(content: harness.Record) -> None:
    for name, record in content["records"].items():
        text = f"{CLAIMS[name].text:44s}"
        if "error" in record:
            print(f"{text}{record['error']}")
            continue
        found, unit = record["found"], record["unit"]
        line = f"{text}{found['median']:9.2f} {unit} ({found['q1']:.2f} to {found['q3']:.2f}, {found['repeats']} runs)"
        if content["goals"]:
            line += f"; goal: at most {record['most']:g} {unit}, {'met' if met(record) else 'MISSED'}"
        print(line + (f"; {found['noise']}" if "noise" in found else ""))


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.fits",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--quick", action="store_true", help="tiny data, few epochs: does it work?")
    line.add_argument("--only", action="append", choices=[*CLAIMS], help="may be given more than once; default all")
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--save", action="store_true", help="keep the JSON as results/fits-cpu-<date>.json")
    line.add_argument("--partial", type=Path, default=Path("results/fits.json"), metavar="FILE")
    options = line.parse_args(argv)
    size, chosen = QUICK if options.quick else FULL, options.only or [*CLAIMS]
    head = {
        "benchmark": "fits",
        "date": str(datetime.date.today()),
        "machine": harness.machine(),
        "goals": not options.quick,
    }
    setting = {"quick": options.quick, "threads": options.threads, "claims": chosen}
    store = harness.Store(options.partial, head, setting)
    expected = {name: claim.repeats * claim.expected for name, claim in CLAIMS.items()}
    tasks = [
        harness.Task(name, lambda _, name=name: measured(name, size, options.threads), expected[name])
        for name in chosen
    ]
    if not harness.run_tasks(tasks, store, quiet=options.quick):
        return 130
    store.finish()
    show(store.content)
    remark = harness.noise(store.content)
    if remark:
        print(f"not to be relied on: {remark}")
    if options.save:
        target = HERE / "results" / f"fits-cpu-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    if any("error" in record for record in store.records.values()):
        return 1
    return 0 if options.quick or all(met(record) for record in store.records.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
