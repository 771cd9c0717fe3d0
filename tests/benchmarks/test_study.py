"""The study machinery on cells with known answers: keys, ledger, kill and resume, budget, search, tests, page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

HERE = Path(__file__).resolve().parent


@pytest.fixture
def study():
    from python_benchmarks import _study

    return _study


@pytest.fixture
def cells():
    import study_cells

    return study_cells


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def ledger(study, tmp_path):
    with study.Ledger(tmp_path / "runs.jsonl") as opened:
        yield opened


def _traced(path):
    return path.read_text().splitlines() if path.exists() else []


def test_equal_cells_have_equal_keys_and_nothing_else_has(study):
    one = study.Cell("s", "d", 0, {"a": 1, "b": 2})
    assert one.key() == study.Cell("s", "d", 0, {"b": 2, "a": 1}).key()
    others = [one.at(1), one.using(a=2), study.Cell("t", "d", 0, one.params), study.Cell("s", "d", 0)]
    assert len({cell.key() for cell in (one, *others)}) == 5
    assert one.key({"version": 1}) != one.key({"version": 2})
    assert one.setting == one.at(7).setting != one.using(a=2).setting


def test_a_cell_that_json_cannot_hold_is_refused(study):
    with pytest.raises(TypeError, match="params and data_params must be plain finite values"):
        study.Cell("s", "d", 0, {"a": object()})
    with pytest.raises(TypeError, match="plain finite values"):
        study.Cell("s", "d", 0, {"a": float("nan")})


def test_finished_cells_are_not_run_again(study, cells, ledger, tmp_path):
    trace = tmp_path / "trace"
    runs = [
        study.Cell(name, "sums", seed, data_params={"trace": str(trace)}) for seed in (0, 1) for name in ("good", "bad")
    ]
    for _ in range(2):
        outcome = study.conduct(runs, cells.evaluate, ledger, progress=False, say=lambda text: None)
        assert outcome.done == runs
        assert not outcome.cut
    assert len(_traced(trace)) == 4
    ledger.close()
    with study.Ledger(ledger.path) as again:
        assert len(again) == 4
        assert again.get(runs[0])["metrics"] == {"auc": 0.7, "undefined": None}
    with study.Ledger(ledger.path, {"version": 2}) as other:
        assert runs[0] not in other


def test_a_second_run_on_the_same_file_is_refused(study, ledger):
    with pytest.raises(study.LedgerInUseError, match="is being written by another run"):
        study.Ledger(ledger.path)


def test_a_line_cut_short_is_dropped_and_the_next_one_whole(study, cells, ledger):
    one, two = study.Cell("good", "sums", 0), study.Cell("good", "sums", 1)
    study.run_cells([one, two], cells.evaluate, ledger, progress=False)
    ledger.close()
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-20])
    with study.Ledger(ledger.path) as cut:
        assert (cut.dropped, one in cut, two in cut) == (1, True, False)
        study.run_cells([two], cells.evaluate, cut, progress=False)
    with study.Ledger(ledger.path) as whole:
        assert one in whole
        assert two in whole


def test_a_killed_study_goes_on_where_it_was(study, cells, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "runs.jsonl"
    command = [sys.executable, str(HERE / "killed_study.py"), str(path), str(trace)]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == -9
    assert len(path.read_text().splitlines()) == 3
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert _traced(trace) == [f"good {seed}" for seed in (0, 1, 2, 3, 3, 4, 5)]
    assert [json.loads(line)["cell"]["seed"] for line in path.read_text().splitlines()] == list(range(6))


def test_a_failure_is_kept_told_and_tried_again(study, cells, ledger):
    runs = [study.Cell("broken", "sums", 0), study.Cell("good", "sums", 0)]
    outcome = study.conduct(runs, cells.evaluate, ledger, progress=False, say=lambda text: None)
    assert outcome.done == runs[1:]
    assert outcome.failed == {runs[0]: "ArithmeticError: this system cannot be fitted"}
    from python_benchmarks._study.page import left_out

    assert left_out(outcome) == ["failed: broken on sums, seeds 0: ArithmeticError: this system cannot be fitted"]


@pytest.mark.slow
def test_processes_give_what_one_process_gives(study, cells, ledger, tmp_path):
    runs = [study.Cell(name, "sums", seed) for seed in range(3) for name in ("good", "bad")]
    outcome = study.run_cells(runs, cells.evaluate, ledger, jobs=2, progress=False)
    assert outcome.done == runs
    with study.Ledger(tmp_path / "alone.jsonl") as alone:
        study.run_cells(runs, cells.evaluate, alone, progress=False)
        assert ledger.sample(runs[::2], "auc") == alone.sample(runs[::2], "auc") != {}


def test_engines_that_are_missing_are_named(study, cells, ledger, monkeypatch):
    from wbm_ext.errors import MissingExtraError, UnknownNameError

    runs = [study.Cell("good", "sums", 0)]
    for name, module in (("dask", "distributed"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'wbm_ext\[{name}\]'"):
            study.run_cells(runs, cells.evaluate, ledger, engine_name=name, progress=False)
    with pytest.raises(UnknownNameError, match="did you mean 'dask'"):
        study.run_cells(runs, cells.evaluate, ledger, engine_name="dusk", progress=False)


def test_the_estimate_comes_from_a_timed_cell_a_group_and_cuts_the_last(study, cells, ledger, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    runs = [study.Cell("good", "sums", seed, {"sleep": 0.25}) for seed in range(12)]
    printed = []
    outcome = study.conduct(runs, cells.evaluate, ledger, budget=1.5 / 3600, progress=False, say=printed.append)
    timed = 12 - int(printed[0].partition(" cells are finished, ")[2].split()[0])  # two where the process is cold
    assert timed in (1, 2)
    assert f"{12 - timed} are open: about {study.duration(0.25 * (12 - timed))} on 1 job(s)" in printed[0]
    assert printed[1] == f"The budget has room for {6 - timed} of the {12 - timed} open cells; the others are cut."
    assert (outcome.done, outcome.cut) == (runs[:6], runs[6:])
    assert now[0] == 1.5


def test_a_dry_run_times_and_says_but_does_no_more(study, cells, ledger):
    runs = [study.Cell(name, "sums", seed) for seed in range(3) for name in ("good", "bad")]
    printed = []
    outcome = study.conduct(runs, cells.evaluate, ledger, progress=False, say=printed.append, dry=True)
    assert {cell.system for cell in outcome.done} == {"good", "bad"}
    assert len(outcome.done) + len(outcome.cut) == 6
    assert f"{len(outcome.done)} cells are finished, {len(outcome.cut)} are open" in printed[0]
    assert len(outcome.done) <= 3  # one a group, and another where the first was the process's own


def test_durations_are_by_group_and_never_below_the_longest_cell(study, ledger):
    durations = study.Durations(ledger)
    slow, fast = study.Cell("slow", "d", 0), study.Cell("fast", "d", 0)
    durations.add(fast, {"seconds": 30.0, "cold": True})
    assert durations.untimed([slow, fast]) == [slow, fast]
    assert durations.each(slow) == 30.0
    durations.add(slow, {"seconds": 10.0})
    durations.add(fast, {"seconds": 1.0})
    durations.add(fast, {"seconds": 3.0})
    assert durations.remaining([slow, fast, fast.at(1)], 2) == 10.0
    assert durations.remaining([slow, slow.at(1), fast], 2) == 11.0
    assert durations.untimed([slow, study.Cell("new", "d", 4)]) == [study.Cell("new", "d", 4)]


def _space(study):
    grid = {"x": [0.0, 1.0, 2.0, 3.0, 4.0], "y": [0.0, 0.5, 1.0]}
    return study.Space(study.Cell("good", "sums", 0), grid, first=[{"x": 0.0, "y": 0.0}])


def test_a_search_finds_the_best_of_the_grid_and_repeats_itself(study, cells, ledger, tmp_path):
    options = {"trials": 24, "seeds": (100, 101), "progress": False}
    found = study.search({"a": _space(study)}, cells.evaluate, ledger, **options)["a"]
    assert found.trials[0]["params"] == {"x": 0.0, "y": 0.0}
    assert found.params == {"x": 3.0, "y": 0.5}
    assert found.value == pytest.approx(0.005)
    with study.Ledger(tmp_path / "other.jsonl") as other:  # stopped after eight trials, and gone on
        study.search({"a": _space(study)}, cells.evaluate, other, **{**options, "trials": 8})
        before = len(other)
        again = study.search({"a": _space(study)}, cells.evaluate, other, **options)["a"]
        assert len(other) > before
    assert again == found


def test_the_defaults_are_left_for_a_gain_above_the_noise_only():
    from python_benchmarks._study.search import choose

    def trial(name, *values):
        return {"params": {"x": name}, "value": sum(values) / len(values) if values else None, "values": list(values)}

    failed, defaults = trial("failed"), trial("defaults", 0.50, 0.60, 0.55)
    lucky = trial("lucky", 0.40, 0.62, 0.60)  # .01 better, standard error .055
    better = trial("better", 0.48, 0.58, 0.53)  # .02 better everywhere
    assert choose([failed, defaults, lucky])["params"]["x"] == "defaults"
    assert choose([failed, defaults, better])["params"]["x"] == "better"
    assert choose([trial("a", 0.5), trial("b", 0.49)])["params"]["x"] == "b"
    assert choose([failed]) is None


def test_a_search_that_is_interrupted_chooses_nothing_and_keeps_its_cells(study, cells, ledger):
    with pytest.raises(KeyboardInterrupt):
        study.search({"a": _space(study)}, cells.interrupted, ledger, trials=1, seeds=(0, 1, 2), progress=False)
    assert ledger.count("search") == 2


def test_a_search_that_looks_at_what_is_reported_gets_nothing(study, cells, ledger):
    found = study.search({"a": _space(study)}, cells.leaking, ledger, trials=2, seeds=(0,), progress=False)["a"]
    assert found.finished == 0
    assert found.params == {}
    cell = study.Cell("good", "sums", 0, {"x": 0.0, "y": 0.0}, purpose="search")
    assert "must not hold metrics" in ledger.error(cell)


def test_a_space_is_checked(study):
    with pytest.raises(ValueError, match="first must stay in the grid; got x=9"):
        study.Space(study.Cell("s", "d", 0), {"x": [1]}, first=[{"x": 9}])
    with pytest.raises(ValueError, match="grid must hold at least one value"):
        study.Space(study.Cell("s", "d", 0), {"x": []})


def test_trials_are_cut_to_the_time_there_is(study, ledger):
    durations = study.Durations(ledger)
    durations.add(study.Cell("good", "sums", 0), {"seconds": 10.0})
    options = {"trials": 20, "seeds": 2, "jobs": 2}
    assert study.trials_within({"a": _space(study)}, durations, seconds=1000, **options) == 20
    assert study.trials_within({"a": _space(study)}, durations, seconds=55, **options) == 5
    assert study.trials_within({"a": _space(study)}, durations, seconds=-1, **options) == 0


def test_differences_are_paired_by_seed(study):
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.02, 0.01, 8), rng.normal(0.0, 0.01, 8)
    first, second = dict(enumerate(a)), dict(reversed(list(enumerate(b)))) | {99: 5.0}
    result = study.paired(first, second)
    interval = stats.ttest_rel(a, b).confidence_interval()
    assert (result.n, result.higher) == (8, int((a > b).sum()))
    assert result.mean == pytest.approx((a - b).mean())
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))
    assert result.t_p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    plain = dict(enumerate(b))
    assert study.two_sample(first, plain) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)


def test_degenerate_samples(study):
    same = study.paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (same.mean, same.t_p, same.wilcoxon_p) == (0.0, 1.0, 1.0)
    one = study.paired({0: 1.0}, {0: 0.5})
    assert (one.mean, one.sd, one.low, one.t_p) == (0.5, None, None, None)
    with pytest.raises(ValueError, match="must share a seed"):
        study.paired({0: 1.0}, {1: 1.0})
    with pytest.raises(ValueError, match="at least one number"):
        study.summarize([])


def test_holm_by_hand(study):
    assert study.holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert study.holm([None]) == [None]


def test_a_published_figure_that_is_missed_is_printed(study):
    from python_benchmarks._study.published import Beside, sentences

    ours = study.summarize([0.70, 0.72])
    missed, near = Beside("AUC of a", ours, 0.744, 0.015), Beside("AUC of b", ours, 0.715, 0.015)
    better, worse = Beside("AUC of c", ours, 0.6, 0.015), Beside("error of d", ours, 0.6, 0.015, higher_is_better=False)
    text = sentences([missed, near, better, worse])
    assert text[0].startswith("4 figures have a published one beside them; 3 differ from it by more than 0.015, 2 of")
    assert text[-1] == (
        "AUC of a: 0.710 ± 0.014 over 2 seed(s) against 0.744 published, 0.034 below, more than 0.015: "
        "the published figure is not reached."
    )
    assert "better than published" in text[1]
    assert "not reached" in text[2]
    assert not any("AUC of b" in sentence for sentence in text)


def test_a_page_and_its_files(study, tmp_path):
    from python_benchmarks._study import figures, page

    report = page.Report("A study")
    report.heading("Results")
    report.table(["system", "AUC"], [["a", page.figure_text(study.summarize([0.5, 0.7]))]])
    assert str(report) == "# A study\n\n## Results\n\n| system | AUC |\n| --- | ---: |\n| a | 0.600 ± 0.141 |\n"
    page.write_csv(tmp_path / "a.csv", [{"x": 1}, {"x": 2, "y": "b,c"}])
    assert (tmp_path / "a.csv").read_text() == 'x,y\n1,\n2,"b,c"\n'
    points = [(x, study.summarize([x, x + 1.0])) for x in (1.0, 10.0)]
    panel = figures.Panel("t", "x", "y", {"a": points}, {"published": [(1.0, 2.0)]}, x_log=True)
    figure = figures.curves([panel, panel], columns=2)
    assert [len(axes.collections) for axes in figure.axes] == [1, 1]
    low, high = figure.axes[0].collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((points[0][1].low, points[1][1].high))
    page.write_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_lengths_of_time(study):
    assert [study.duration(s) for s in (7.4, 190, 8040, 200000)] == ["7 s", "3 min 10 s", "2 h 14 min", "55 h 33 min"]
