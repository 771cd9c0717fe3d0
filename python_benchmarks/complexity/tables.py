"""A result's records as tables of words, for the page, and as CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_benchmarks._harness import Record
from python_benchmarks.complexity.growth import Records, exponents, section, verdicts
from python_benchmarks.complexity.options import Options, power
from python_benchmarks.complexity.published import TABLE3
from python_benchmarks.peers.table import outcome, seconds

COLUMNS = (
    "section", "case", "subject", "mean", "sd", "half_width_99.9", "median", "q1", "q3", "repeats", "iterations",
    "residual", "gradient_error", "bytes", "multiply_adds", "share", "remarks",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Names of columns, rows of words, which columns are set to the left."""

    names: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: tuple[int, ...] = (0,)

    def narrow(self) -> Grid:
        """Without the first column where it is the device and there is one only."""
        if self.names[0] != "device" or len({row[0] for row in self.rows}) > 1:
            return self
        return Grid(self.names[1:], [row[1:] for row in self.rows], tuple(i - 1 for i in self.words if i))


def mean(values: Any) -> float | None:
    """Of a number or a list of them."""
    return sum(values) / len(values) if isinstance(values, list) else values


def short(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def between(time: Record, name: str) -> str:
    """Mean ± spread in one unit."""
    if time.get("mean") is None:
        return seconds(time.get("median"))
    middle, unit = seconds(time["mean"]).split()
    scale = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    apart = None if time.get(name) is None else time[name] / scale
    return middle + ("" if apart is None else f" ± {apart:.3g}" if apart < 1000 else f" ± {apart:.0f}") + f" {unit}"


def flat(key: str, record: Record) -> Record:
    """One line of the CSV."""
    name, case, subject = key.split("|")
    time = record.get("seconds", {})
    return {
        "section": name, "case": case, "subject": subject, "half_width_99.9": time.get("half"),
        **{field: time.get(field) for field in ("mean", "sd", "median", "q1", "q3", "repeats")},
        "iterations": mean(record.get("iterations")), "remarks": outcome(record),
        **{field: record.get(field) for field in ("residual", "gradient_error", "bytes", "multiply_adds", "share")},
    }  # fmt: skip


def write_csv(records: Records, path: Path) -> None:
    """A line a cell, seconds, the machine's own figures left to the JSON."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(flat(key, record) for key, record in records.items() if not key.startswith("machine|"))


def metric(records: Records) -> Grid:
    rows = sorted(section(records, "wbm"), key=lambda r: (r["device"], r["subject"], r["batch"], r["k"], -r["tau"]))
    names = ("device", "timed", "B", "k", "τ", "mean ± 99.9 %", "iterations", "residual", "gradient error")
    return Grid(names, [
        (r["device"], r["subject"], str(r["batch"]), str(r["k"]), power(r["tau"]), between(r["seconds"], "half"),
         short(mean(r["iterations"])), short(r["residual"], 2), short(r.get("gradient_error"), 2))
        for r in rows
    ], (0, 1))  # fmt: skip


def goals(records: Records, options: Options) -> Grid:
    def amount(value: float, unit: str) -> str:
        return seconds(value) if unit == "s" else f"{value:.3g}"

    return Grid(("case", "what", "measured", "goal", ""), [
        (v.case, v.what, amount(v.value, v.unit), f"≤ {amount(v.goal, v.unit)}", "met" if v.met else "MISSED")
        for v in verdicts(records, options)
    ], (0, 1))  # fmt: skip


def growth(records: Records, options: Options) -> Grid:
    return Grid(("device", "timed", "in", "series", "exponent", "95 % interval"), [
        (e.device, e.subject, e.quantity, e.series, f"{e.value:.2f}", f"{e.low:.2f} to {e.high:.2f}")
        for e in exponents(records, options)
    ], (0, 1, 2, 3))  # fmt: skip


def escfr(records: Records) -> Grid:
    rows = []
    for r in section(records, "escfr"):
        published = TABLE3[r["axis"], r["subject"]].get(r["at"])
        theirs = between({"mean": published[0], "sd": published[1]}, "sd") if published else "-"
        rows.append((
            r["device"], r["subject"], {"batch": "batch size", "epsilon": "ε", "kappa": "κ"}[r["axis"]], f"{r['at']:g}",
            between(r["seconds"], "sd"), theirs, short(mean(r["iterations"])), short(r["residual"], 2),
        ))  # fmt: skip
    names = ("device", "algorithm", "varied", "at", "here, mean ± sd", "published", "iterations", "residual")
    return Grid(names, rows, (0, 1, 2))


def peers(records: Records) -> Grid:
    rows = []
    for key, r in records.items():
        if key.startswith("peers|"):
            _, case, subject = key.split("|")
            time = r.get("seconds", {})
            quartiles = f"{seconds(time['q1'])} to {seconds(time['q3'])}" if time else ""
            rows.append(
                (case, subject, seconds(time.get("median")), quartiles, short(r.get("iterations")),
                 short(r.get("residual"), 2), outcome(r))
            )  # fmt: skip
    return Grid(("problem", "library", "median", "quartiles", "iterations", "residual", "remarks"), rows, (0, 1, 6))


def against(rows: list[Record]) -> Grid:
    """Medians beside those of an earlier result; above 1: faster now."""
    names = ("cell", "earlier", "now", "earlier / now", "quartiles apart")
    return Grid(names, [
        (r["key"].replace("|", ", "), seconds(r["old"]), seconds(r["new"]), f"{r['ratio']:.2f}",
         "yes" if r["apart"] else "no")
        for r in rows
    ])  # fmt: skip


def machine(records: Records) -> Grid:
    rows = []
    for key, r in records.items():
        if key.startswith("machine|") and "rate" in r:
            words = f"{r['rate']['median'] / 1e9:.3g} G{r['unit']}"
            what = f"copy of {r['size'] / 2**20:g} MiB" if "size" in r else "multiply-adds, float32"
            rows.append((r["device"], what, words, r["rate"].get("noise", "")))
    return Grid(("device", "what", "median of five", "remarks"), rows, (0, 1, 3))


def limits(records: Records) -> Grid:
    names = (
        "device",
        "n = m",
        "one iteration",
        "bytes",
        "multiply-adds",
        "bound by",
        "share",
        "residual after 40",
        "remarks",
    )
    return Grid(names, [
        (r["device"], str(r["n"]), seconds(r["seconds"]["median"]), f"{r['bytes']:.3g}", f"{r['multiply_adds']:.3g}",
         r["binding"], f"{r['share']:.2f}", short(r["residual"], 2), outcome(r))
        for r in section(records, "limits")
    ], (0, 5, 8))  # fmt: skip


def cells(records: Records) -> Grid:
    rows = []
    for key, record in records.items():
        if key.startswith("machine|"):
            continue
        line, time = flat(key, record), record.get("seconds", {})
        interval = between(time, "half") if time else ""
        rows.append((
            line["section"], line["case"], line["subject"], interval, seconds(time.get("median")),
            short(line["iterations"]), short(line["residual"], 2), short(line["bytes"]), short(line["multiply_adds"]),
            line["remarks"],
        ))  # fmt: skip
    names = (
        "section",
        "case",
        "timed",
        "mean ± 99.9 %",
        "median",
        "iterations",
        "residual",
        "bytes",
        "multiply-adds",
        "remarks",
    )
    return Grid(names, rows, (0, 1, 2, 9))
