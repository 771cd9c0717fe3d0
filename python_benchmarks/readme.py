"""The README's tables of results and of times, generated from the committed figures and never typed.

python -m wbm_ext compare --data coat --root <folder> --seeds 10 --out results/coat
python -m python_benchmarks.readme --take results/coat/comparison.json --write
python -m python_benchmarks.complexity
python -m python_benchmarks.readme --take results/complexity/complexity.json --write

--take keeps a run's figures (of complexity also its page) under results/ beside this file; --write puts the tables into
README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from python_benchmarks.complexity import summary
from python_benchmarks.recommendation.published import table_3

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def take(source: Path) -> Path:
    """Keep a run's figures under results/: of a comparison without the training curves, of complexity with its page.

    Raises
    ------
    ValueError
        A complexity run that was quick, of some sections only, or interrupted.
    """
    figures = json.loads(source.read_text())
    if figures.get("benchmark") == "complexity":
        return take_complexity(source.parent, figures)
    for system in figures["systems"].values():
        for run in system["runs"]:
            run.pop("history", None)
    figures["command"] = (
        f"python -m wbm_ext compare --data {figures['data']['name']} --seeds {figures['setting']['seeds']}"
    )
    target = HERE / "results" / f"compare-{figures['data']['name']}-cpu-{datetime.date.today()}.json"
    target.write_text(json.dumps(figures, indent=1) + "\n")
    return target


def take_complexity(folder: Path, figures: dict[str, Any]) -> Path:
    """Keep a run's page, samples and CSV; the plots are in the page."""
    sections = {"goal", "wbm", "escfr", "limits", "peers"}
    reasons = [
        (figures["quick"], "is a quick one"),
        (set(figures["setting"]["sections"]) != sections, "does not have every section"),
        (not figures.get("complete") and "cut" not in figures, "was interrupted; start it again to end it"),
    ]
    for wrong, reason in reasons:
        if wrong:
            raise ValueError(f"only a whole run is kept, and this one {reason}")
    device = "cuda" if "cuda" in figures["setting"]["devices"] else "cpu"
    target = HERE / "results" / f"complexity-{device}-{figures['date']}"
    target.mkdir(exist_ok=True)
    for name in ("complexity.json", "cells.csv", "index.html"):
        shutil.copyfile(folder / name, target / name)
    return target


def performance() -> str:
    """Markdown: the times of the latest committed run of complexity on the CPU; empty where there is none."""
    files = sorted((HERE / "results").glob("complexity-cpu-*/complexity.json"))
    if not files:
        return ""
    page = files[-1].with_name("index.html").relative_to(HERE.parent)
    return summary.markdown(json.loads(files[-1].read_text()), page.as_posix())


def newest() -> Path:
    """The latest committed comparison on Coat."""
    files = sorted((HERE / "results").glob("compare-coat-cpu-*.json"))
    if not files:
        raise FileNotFoundError("no results/compare-coat-cpu-*.json; make one with --take")
    return files[-1]


def table(source: Path) -> str:
    """Markdown: our figures on Coat beside those of the WBM paper's Table 3."""
    figures = json.loads(source.read_text())
    seeds = figures["setting"]["seeds"]
    lines = [
        f"Coat's {figures['data']['n_test']} unbiased test ratings, positive from "
        f"{figures['setting']['threshold']:g} up, {seeds} seeds (mean ± sd), epoch chosen on held-out biased ratings; "
        f"torch {figures['versions']['torch']}, `{figures['command']} --root <folder>`:",
        "",
        "| system | AUC | NDCG@5 | F1@5 | published (WBM, Table 3) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, system in figures["systems"].items():
        metrics = system["summary"]["metrics"]
        cells = [f"{metrics[key]['mean']:.3f} ± {metrics[key]['sd']:.3f}" for key in ("auc", "ndcg@5", "f1@5")]
        published = " / ".join(f"{x:.3f}" for x in table_3(name, "coat").values())
        lines.append(f"| {name} | {' | '.join(cells)} | {published} |")
    lines += ["", figures["verdict"]]
    return "\n".join(lines)


def block(text: str, content: str, name: str = "results") -> str:
    """README text with the generated part of that name replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{content}\n{end}", text, flags=re.S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, metavar="FILE", help="keep the figures of this result")
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    options = parser.parse_args()
    if options.take:
        try:
            print("wrote", take(options.take).relative_to(HERE.parent))
        except ValueError as error:
            parser.error(str(error))
    contents = {"results": table(newest()), "performance": performance()}
    if options.write:
        text = README.read_text()
        for name, content in contents.items():
            text = block(text, content, name)
        README.write_text(text)
    print("\n\n".join(contents.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
