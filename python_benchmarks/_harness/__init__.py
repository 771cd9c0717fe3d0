"""One harness for every benchmark: timing, machine, results that survive an interrupt, comparison of two runs."""

from python_benchmarks._harness.machine import commit, cores, cpu_model, machine, pinned, threads, version
from python_benchmarks._harness.records import Journal, Record, Store, fingerprint, write_json
from python_benchmarks._harness.results import BUSY, NOISY, compare, earlier, noise
from python_benchmarks._harness.tasks import Lost, Task, forecast, run_tasks, unfinished
from python_benchmarks._harness.timing import NOISE, SAMPLE, Timing, elapsed, measure, sample, summarize

__all__ = [
    "BUSY",
    "NOISE",
    "NOISY",
    "SAMPLE",
    "Journal",
    "Lost",
    "Record",
    "Store",
    "Task",
    "Timing",
    "commit",
    "compare",
    "cores",
    "cpu_model",
    "earlier",
    "elapsed",
    "fingerprint",
    "forecast",
    "machine",
    "measure",
    "noise",
    "pinned",
    "run_tasks",
    "sample",
    "summarize",
    "threads",
    "unfinished",
    "version",
    "write_json",
]
