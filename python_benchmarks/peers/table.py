"""A run's records and verdicts as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from python_benchmarks._harness import BUSY, Record
from python_benchmarks.peers.goals import Verdict, verdicts


def seconds(value: float | None) -> str:
    """Three digits in s, ms or µs."""
    if value is None:
        return ""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def amount(value: float | None, unit: str) -> str:
    """A value of a verdict with its unit."""
    if value is None:
        return ""
    return seconds(value) if unit == "s" else f"{value:.3g} {unit}".strip()


def outcome(record: Record) -> str:
    """Why there is no time, or what to know about it."""
    if "error" in record:
        return f"failed: {record['error']}"
    if "wrong" in record:
        return f"not timed: {record['wrong']}"
    if "skipped" in record:
        return record["skipped"]
    if record.get("reached") is False and "seconds" not in record:
        return f"does not get there; one call of {seconds(record.get('one_call'))}"
    notes = [record.get("note", ""), record.get("seconds", {}).get("noise", "")]
    if record.get("reached") is False:
        notes.append("at its floor, above the residual asked for")
    return "; ".join(filter(None, notes))


def details(records: dict[str, Record]) -> Table:
    """Every timed, refused or failed subject."""
    table = Table(title="Every subject", title_justify="left")
    for name in ("section", "case", "subject"):
        table.add_column(name)
    for name in ("median", "quartiles", "residual"):
        table.add_column(name, justify="right")
    table.add_column("remarks", max_width=60)
    last = ""
    for key, record in records.items():
        if "skipped" in record:
            continue
        section, case, subject = key.split("|")
        if last and last != f"{section}|{case}":
            table.add_section()
        last = f"{section}|{case}"
        time = record.get("seconds", {})
        quartiles = f"{seconds(time['q1'])} to {seconds(time['q3'])}" if time else ""
        residual = f"{record['residual']:.1e}" if "residual" in record else ""
        table.add_row(section, case, subject, seconds(time.get("median")), quartiles, residual, outcome(record))
    return table


def goals(found: list[Verdict]) -> Table:
    """Goal beside what was measured."""
    table = Table(title="Goals", title_justify="left")
    for name in ("section", "case", "what"):
        table.add_column(name)
    for name in ("measured", "goal"):
        table.add_column(name, justify="right")
    table.add_column("met")
    table.add_column("ours", justify="right")
    table.add_column("peer")
    for v in found:
        goal = f"{'≥' if v.least else '≤'} {amount(v.goal, v.unit)}" if v.goal is not None else "-"
        met = {True: "[green]yes[/green]", False: "[red]NO[/red]", None: "-"}[v.met]
        peer = f"{v.peer} ({seconds(v.theirs)})" if v.peer else ""
        table.add_row(v.section, v.case, v.what, amount(v.value, v.unit), goal, met, seconds(v.ours), peer)
    return table


def show(result: Record, console: Console | None = None) -> None:
    """Machine, subjects, goals, who was left out."""
    console = console or Console(width=None if Console().is_terminal else 170)
    records, machine = result["records"], result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    build = machine["build"]
    console.print(f"{machine['cpu']}, {machine['cores']} cores; {build['compiler']}, {build['cpu_kernels']}")
    console.print(versions)
    if "gpu" in machine:
        console.print(f"{machine['gpu']}, {machine['multiprocessors']} multiprocessors, CUDA {machine['cuda']}")
    if machine["load"] > BUSY:
        console.print(f"[yellow]load average {machine['load']} before the run: times are not to be trusted[/yellow]")
    if not records:
        console.print("no records")
        return
    console.print(details(records))
    found = verdicts(records)
    console.print(goals(found))
    decided = [v.met for v in found if v.met is not None]
    console.print(f"{sum(decided)} of {len(decided)} goals met")
    for line in result["left_out"]:
        console.print(f"left out: {line}")


def show_comparison(rows: list[Record], console: Console | None = None) -> None:
    """Two results: old over new, above 1 where the new one is faster."""
    console = console or Console(width=None if Console().is_terminal else 170)
    table = Table(title="Against the earlier result", title_justify="left")
    table.add_column("record")
    for name in ("earlier", "now", "earlier / now"):
        table.add_column(name, justify="right")
    table.add_column("quartiles apart")
    for row in rows:
        table.add_row(
            row["key"].replace("|", ", "), seconds(row["old"]), seconds(row["new"]), f"{row['ratio']:.2f}",
            "yes" if row["apart"] else "no",
        )  # fmt: skip
    console.print(table)
