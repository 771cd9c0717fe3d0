"""A result in short, as Markdown: goals, the papers' marks, the fastest other library."""

from __future__ import annotations

from python_benchmarks import _harness as harness
from python_benchmarks._harness import Record
from python_benchmarks.complexity.growth import FLAT, SECONDS, Records, exponents, section
from python_benchmarks.complexity.metric import BOTH
from python_benchmarks.complexity.options import Options, power
from python_benchmarks.complexity.published import FIG6_BY_BATCH, FIG6_BY_TAU, FIG6_MACHINE
from python_benchmarks.complexity.tables import between, mean, short
from python_benchmarks.peers.table import seconds

DIMENSION = 32  # k of the rows beside the paper's marks


def markdown(result: Record, page: str) -> str:
    """Tables of a result on the CPU; ``page``: where its page stands."""
    options, records, machine = Options.of(result["setting"]), result["records"], result["machine"]
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    build = f"{machine['build']['compiler']} with {machine['build']['cpu_kernels']} kernels"
    where = f"{machine['cpu']}, {threads}, {build}, torch {machine['versions']['torch']}"
    parts = [
        f"{where}, {result['date']}, commit {result['commit']}; float64, every result checked before it was timed. "
        f"[The whole page]({page}), `{result['command']}`."
    ]
    if remark := harness.noise(result):
        parts.append(f"The machine was not quiet ({remark}).")
    parts += [_goals(records, options), _marks(records, options), _peers(records, options), _growth(records, options)]
    return "\n\n".join(part for part in parts if part)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [names, ("---",) * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _goals(records: Records, options: Options) -> str:
    found = {
        (r["n"], r["m"], r["relative_epsilon"], r["tau"]): r for r in section(records, "goal") if r["device"] == "cpu"
    }
    loose, tight = max(options.goal_taus), min(options.goal_taus)
    rows = []
    for n, m in options.goal_shapes:
        for relative, goal in SECONDS.items():
            first, last = (found.get((n, m, relative, tau)) for tau in (loose, tight))
            if first is None or last is None:
                continue
            time, flat = last["seconds"]["median"], last["seconds"]["median"] / first["seconds"]["median"]
            rows.append((
                f"{n} x {m}, ε = {relative:g} mean(D)", seconds(first["seconds"]["median"]), seconds(time),
                _held(seconds(goal), time <= goal), f"{flat:.2g}", _held(f"{FLAT:g}", flat <= FLAT),
                short(mean(last["iterations"])), short(last["residual"], 2),
            ))  # fmt: skip
    names = (f"value + gradient, k = {options.goal_dimension}", f"to residual {power(loose)}", f"to {power(tight)}",
             "goal", "ratio", "goal", "iterations", "residual")  # fmt: skip
    return _table(names, rows)


def _held(goal: str, met: bool) -> str:
    return f"≤ {goal}: {'met' if met else '**missed**'}"


def _marks(records: Records, options: Options) -> str:
    rows = []
    for mark in (FIG6_BY_BATCH[0], *FIG6_BY_TAU):
        for r in section(records, "wbm"):
            if (r["device"], r["subject"], r["batch"], r["k"], r["tau"]) == (
                "cpu", BOTH, mark.batch, DIMENSION, mark.tau,
            ):  # fmt: skip
                words = mark.words.removeprefix(f"k = {DIMENSION}: ")
                rows.append((f"B = {mark.batch}, τ = {power(mark.tau)}", between(r["seconds"], "half"), words))
    names = (f"WBM Fig. 6, value + gradient, k = {DIMENSION}", "mean ± 99.9 %", f"the paper, on {FIG6_MACHINE}")
    return _table(names, rows)


def _peers(records: Records, options: Options) -> str:
    rows = []
    for relative in options.peer_epsilons:
        for n in options.peer_sizes:
            prefix = f"peers|cpu, n={n}, eps={relative:g}|"
            times = {
                key.removeprefix(prefix): record["seconds"]["median"]
                for key, record in records.items()
                if key.startswith(prefix) and "seconds" in record
            }
            others = {name: time for name, time in times.items() if not name.startswith("wbm_ext")}
            if "wbm_ext" in times and others:
                best = min(others, key=others.__getitem__)
                rows.append((f"{n} x {n}, ε = {relative:g} mean(D)", seconds(times["wbm_ext"]),
                             f"{best}: {seconds(others[best])}", f"{others[best] / times['wbm_ext']:.1f}"))  # fmt: skip
    return _table(("plan to residual 1e-6", "wbm_ext", "fastest other library", "times as long"), rows)


def _growth(records: Records, options: Options) -> str:
    words = [
        f"{e.quantity}^{e.value:.2f} ({e.low:.2f} to {e.high:.2f}; {e.series})"
        for e in exponents(records, options)
        if (e.device, e.subject) == ("cpu", BOTH) and e.series.startswith(f"k = {DIMENSION},")
    ]
    return f"Time of value + gradient grows as {', as '.join(words)}; 95 % intervals." if words else ""
