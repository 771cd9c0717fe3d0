"""The folder of a run: JSON, CSV, plots, and one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from pathlib import Path

from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record
from python_benchmarks.complexity import tables
from python_benchmarks.complexity.figures import figures, save
from python_benchmarks.complexity.options import Options
from python_benchmarks.complexity.published import FIG6_MACHINE

TEMPLATE = Path(__file__).with_name("page.html")


def cut(result: Record) -> list[str]:
    """What a budget left unmeasured: a line for each case, with its subjects."""
    cases: dict[str, list[str]] = {}
    for key in result.get("cut", {"cells": []})["cells"]:
        section, case, subject = key.split("|")
        cases.setdefault(f"{section}, {case}", []).append(subject)
    return [f"{case}: {', '.join(subjects)}" for case, subjects in cases.items()]


def render(result: Record, options: Options, plots: list[tuple[str, str, str]], rows: list[Record]) -> str:
    """HTML of a result with ``plots`` (group, name, text of the SVG) inlined; ``rows``: beside an earlier result."""
    from jinja2 import Environment, StrictUndefined

    records = result["records"]
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        TEMPLATE.read_text()
    )  # fmt: skip
    found = {
        "metric": tables.metric(records), "goals": tables.goals(records, options),
        "growth": tables.growth(records, options), "escfr": tables.escfr(records), "peers": tables.peers(records),
        "machine": tables.machine(records), "limits": tables.limits(records), "cells": tables.cells(records),
        "against": tables.against(rows),
    }  # fmt: skip
    versions = ", ".join(f"{name} {number}" for name, number in result["machine"]["versions"].items() if number)
    return template.render(
        machine={"gpu": None, "pinned": None} | result["machine"],
        setting=result["setting"],
        date=result["date"],
        commit=result["commit"],
        command=result["command"],
        quick=result["quick"],
        complete=result.get("complete", False),
        minutes=sum(record.get("took", 0.0) for record in records.values()) / 60,
        budget=result.get("cut", {"minutes": None})["minutes"],
        cut=cut(result),
        left_out=result["left_out"],
        versions=versions,
        noise=harness.noise(result),
        fig6_machine=FIG6_MACHINE,
        plots=[{"group": group, "name": name, "source": _inline(svg)} for group, name, svg in plots],
        tables={name: grid.narrow() for name, grid in found.items()},
    )


def _inline(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def write(result: Record, options: Options, folder: Path, rows: list[Record]) -> Path:
    """Write everything that is kept of a run; returns the page's path. ``rows``: its times beside earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    harness.write_json(folder / "complexity.json", result)
    tables.write_csv(result["records"], folder / "cells.csv")
    plots = [
        (group, name, save(figure, folder / "plots", name))
        for group, name, figure in figures(result["records"], options)
    ]
    page = folder / "index.html"
    page.write_text(render(result, options, plots, rows))
    return page
