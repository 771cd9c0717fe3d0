"""What a balancing term costs in a training step: batch of 512 pairs, embeddings of 32, two threads.

    python -m python_benchmarks.training_step [--quick] [--save]

Three trainers take the same batches (256 observed and 256 unobserved pairs, drawn before the clock runs) from the same
start, in turn and in blocks of a few steps, so that whatever slows the machine slows all of them: the bare step of
``_steps``, the same plus WBM by this package, the same plus WBM by a logsumexp loop in torch. Both solve to the same
residual. The extra of a term is the median over rounds of (its step / the bare step of the round) - 1. Goals: 25 % on
data of the shape of Yahoo R3 ("Music", 15,400 x 1,000, 311,704 ratings), 60 % on that of Coat (290 x 300, 6,960). To
be run on a quiet machine only; the command exits with 1 where a goal is missed and ``--quick`` is not given.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks import _steps as steps

HERE = Path(__file__).resolve().parent
BARE, OURS, LOOP = "bare step", "with WBM", "with WBM, logsumexp loop in torch"
SUBJECTS: dict[str, steps.Term | None] = {BARE: None, OURS: steps.wbm, LOOP: steps.log_domain}
SHAPES = {"Music-shaped": steps.MUSIC, "Coat-shaped": steps.COAT}
GOALS = {"Music-shaped": 0.25, "Coat-shaped": 0.60}  # most that WBM may add, as a share of the bare step
QUICK = {"Music-shaped": steps.Shape(400, 100, 2_000), "Coat-shaped": steps.Shape(60, 50, 400)}
BLOCK = 5  # steps of one trainer in turn


def race(
    shape: steps.Shape, pairs: int, k: int, rounds: int, warm_up: int, clock: Callable[[], float] = time.perf_counter
) -> harness.Record:
    """Seconds a step of every subject over interleaved rounds, and what a term adds to the bare step."""
    data = steps.generate(shape)
    drawn = steps.batches(data, pairs, BLOCK * 20)
    trainers = {name: steps.Trainer(data, k, term) for name, term in SUBJECTS.items()}
    for trainer in trainers.values():
        for index in range(warm_up):
            trainer.step(drawn[index % len(drawn)])
    samples: dict[str, list[float]] = {name: [] for name in trainers}
    names = [*trainers]
    for index in range(rounds):
        begin = index * BLOCK % len(drawn)
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            block, trainer = drawn[begin : begin + BLOCK], trainers[name]
            start = clock()
            for batch in block:
                trainer.step(batch)
            samples[name].append((clock() - start) / BLOCK)
    record: harness.Record = {name: {"seconds": harness.summarize(values).record()} for name, values in samples.items()}
    for name in (OURS, LOOP):
        ratios = [t / bare - 1 for t, bare in zip(samples[name], samples[BARE], strict=True)]
        record[name]["extra"] = harness.summarize(ratios).record()
    result = steps.diagnose(trainers[OURS], drawn[0])
    record[OURS]["iterations"], record[OURS]["residual"] = int(result.iterations), float(result.residual)
    return record


def show(content: harness.Record) -> None:
    for name, record in content["records"].items():
        if "error" in record:
            print(f"{name}: {record['error']}")
            continue
        print(f"{name}, {content['setting']['threads']} threads:")
        for subject in SUBJECTS:
            t = record[subject]["seconds"]
            line = f"  {subject:36s}{1e3 * t['median']:8.3f} ms ({1e3 * t['q1']:.3f} to {1e3 * t['q3']:.3f})"
            if "extra" in record[subject]:
                e = record[subject]["extra"]
                line += f", {e['median']:+.0%} ({e['q1']:+.0%} to {e['q3']:+.0%})"
            if subject == OURS and name in content["goals"]:
                line += f"; goal: at most {GOALS[name]:+.0%}, {'met' if met(name, record) else 'MISSED'}"
            print(line + (f"; {t['noise']}" if "noise" in t else ""))


def met(name: str, record: harness.Record) -> bool:
    return "error" not in record and record[OURS]["extra"]["median"] <= GOALS[name]


def main(argv: list[str] | None = None) -> int:
    line = argparse.ArgumentParser(
        prog="python -m python_benchmarks.training_step",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    line.add_argument("--quick", action="store_true", help="tiny data, few rounds: does it work?")
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--rounds", type=int, help="default 200, quick 3")
    line.add_argument("--save", action="store_true", help="keep the JSON as results/training-step-cpu-<date>.json")
    line.add_argument("--partial", type=Path, default=Path("results/training-step.json"), metavar="FILE")
    options = line.parse_args(argv)
    shapes, rounds = (QUICK, options.rounds or 3) if options.quick else (SHAPES, options.rounds or 200)
    pairs, k, warm_up = (64, 8, 2) if options.quick else (512, 32, 50)
    setting = {
        "pairs": pairs, "k": k, "rounds": rounds, "warm_up": warm_up, "threads": options.threads, "block": BLOCK,
        "quick": options.quick, "epsilon": steps.EPSILON, "tolerance": steps.TOLERANCE, "clip": steps.CLIP,
        "shapes": {name: vars(shape) for name, shape in shapes.items()},
    }  # fmt: skip
    head = {
        "benchmark": "training_step",
        "date": str(datetime.date.today()),
        "machine": harness.machine(),
        "goals": {} if options.quick else GOALS,
    }
    store = harness.Store(options.partial, head, setting)
    with harness.threads(options.threads):
        tasks = [
            harness.Task(name, lambda _, shape=shape: race(shape, pairs, k, rounds, warm_up))
            for name, shape in shapes.items()
        ]
        if not harness.run_tasks(tasks, store, quiet=True):
            return 130
    store.finish()
    show(store.content)
    if options.save:
        target = HERE / "results" / f"training-step-cpu-{datetime.date.today()}.json"
        harness.write_json(target, store.content)
        print("wrote", target.relative_to(HERE.parent))
    if any("error" in record for record in store.records.values()):
        return 1
    return 0 if options.quick or all(met(name, record) for name, record in store.records.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
