"""The README's table of results, generated from the committed figures and never typed.

python -m wbm_ext compare --data coat --root <folder> --seeds 10 --out results/coat
python -m python_benchmarks.readme --take results/coat/comparison.json    # keep its figures under results/
python -m python_benchmarks.readme --write                                # put the table into README.md
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- begin results -->", "<!-- end results -->"
PUBLISHED = {"naive": (0.680, 0.616, 0.470), "ips": (0.710, 0.603, 0.450), "ips-wbm": (0.740, 0.686, 0.481)}


def take(source: Path) -> Path:
    """Keep a comparison's figures, without the training curves, under results/."""
    figures = json.loads(source.read_text())
    for system in figures["systems"].values():
        for run in system["runs"]:
            run.pop("history", None)
    figures["command"] = (
        f"python -m wbm_ext compare --data {figures['data']['name']} --seeds {figures['setting']['seeds']}"
    )
    target = HERE / "results" / f"compare-{figures['data']['name']}-cpu-{datetime.date.today()}.json"
    target.write_text(json.dumps(figures, indent=1) + "\n")
    return target


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
        published = " / ".join(f"{x:.3f}" for x in PUBLISHED[name])
        lines.append(f"| {name} | {' | '.join(cells)} | {published} |")
    lines += ["", figures["verdict"]]
    return "\n".join(lines)


def block(text: str, content: str) -> str:
    """README text with the generated part replaced."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{content}\n{END}", text, flags=re.S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, metavar="FILE", help="keep this comparison.json's figures")
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    if options.take:
        print("wrote", take(options.take).relative_to(HERE.parent))
    content = table(newest())
    if options.write:
        README.write_text(block(README.read_text(), content))
    print(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
