"""The study of recommenders at small size: its cells, what a search sees, the report, the map of gains."""

from __future__ import annotations

import json
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wbm_ext.datasets import make_ratings
from wbm_ext.errors import UnknownNameError

SMALL = ["--users", "40", "--items", "50", "--epochs", "2", "--seeds", "2", "--no-progress"]


@pytest.fixture
def study():
    """All modules under their names."""
    from python_benchmarks import _study
    from python_benchmarks._study import map
    from python_benchmarks.recommendation import (
        __main__,
        evaluate,
        protocol,
        published,
        report,
        results,
        when,
    )

    modules = {"main": __main__, "machinery": _study, "map": map, "when": when}
    modules |= {
        "evaluate": evaluate,
        "protocol": protocol,
        "published": published,
        "report": report,
        "results": results,
    }
    return types.SimpleNamespace(**modules)


# ---------------------------------------------------------------------- cells and evaluation


def test_every_system_of_the_paper_has_a_row_and_a_search(study):
    from wbm_ext.recommender import create, systems

    assert set(study.published.TABLE_3) <= set(systems())
    assert set(study.protocol.table_systems()) == set(systems())
    for name in systems():
        for data in ("coat", "yahoo-r3", "kuairec"):
            space = study.protocol.space(name, study.protocol.Source(data))
            for setting in space.first:
                create(name, **{**space.cell.params, **setting})


def test_the_published_tables_agree_where_the_paper_copies_itself(study):
    """λ_b = 0 of Table 4 is Multi-IPS and Multi-DR of Table 3."""
    for wbm, multi in (("ips-wbm", "multi-ips"), ("dr-wbm", "multi-dr")):
        for data in ("coat", "yahoo-r3"):
            assert study.published.table_4(wbm, 0.0, data) == study.published.table_3(multi, data)
    assert study.published.table_3("snips", "coat") == {}
    assert study.published.table_4("ips-wbm", 1.0, "kuairec") == {}


def test_tables_and_figures_share_their_runs(study):
    source, names = study.protocol.Source("coat"), ["naive", "ips-wbm", "dr-wbm"]
    three = study.protocol.table_3_cells(names, source, {}, 3)
    four = study.protocol.table_4_cells(names, source, {}, 3)
    figures = study.protocol.figure_cells(names, source, {}, 3)
    assert len(three) == 15
    assert [cell.seed for cell in three] == sorted(cell.seed for cell in three)
    wbm = {cell.key() for cell in three if cell.system != "naive"}
    assert wbm < {cell.key() for cell in four}
    assert len({cell.key() for cell in four}) == 2 * len(study.protocol.LAMBDAS) * 3
    assert {cell.key() for cell in three if cell.params.get("balance_weight") == 1} <= {cell.key() for cell in figures}


def _cell(study, purpose, seed=0, system="naive"):
    params = study.protocol.settle(system, {"epochs": 2})
    return study.machinery.Cell(system, "synthetic", seed, params, {"n_users": 40, "n_items": 50}, purpose)


def test_a_search_never_touches_the_test_part(study, monkeypatch):
    data = make_ratings(40, 50, random_state=0)
    blind = types.SimpleNamespace(train=data.train, threshold=data.threshold)
    seeing = study.evaluate.evaluate(_cell(study, "report"))
    monkeypatch.setattr(study.evaluate, "dataset", lambda cell: blind)
    record = study.evaluate.evaluate(_cell(study, "search"))
    assert set(record) == {"validation", "best_epoch", "stopped"}
    assert record["validation"] == seeing["validation"]
    with pytest.raises(AttributeError, match="test"):
        study.evaluate.evaluate(_cell(study, "report"))


def test_figures_of_a_run_are_those_of_the_model(study):
    from wbm_ext.metrics import ndcg_at_k
    from wbm_ext.recommender import create

    cell = _cell(study, "report", seed=3)
    record = study.evaluate.evaluate(cell)
    data = make_ratings(40, 50, random_state=3)
    model = create("naive", **cell.params, random_state=3).fit(data.train)
    test = data.test
    scores = model.predict(test.users, test.items)
    assert record["metrics"]["ndcg"] == ndcg_at_k(test.users, test.binarize(3), scores, k=5)
    assert record["metrics"]["auc"] == model.score(test)
    users, items = np.indices((40, 50)).reshape(2, -1)
    r, y = model.predict(users, items).astype(np.float64), (data.truth.ravel() >= 3)
    assert record["metrics"]["log_loss_all"] == pytest.approx(-np.log(np.where(y, r, 1 - r)).mean())
    q, estimate = data.propensities.ravel(), data.train.density
    kl = q * np.log(q / estimate) + (1 - q) * np.log((1 - q) / (1 - estimate))
    assert record["metrics"]["propensity_loss"] == pytest.approx(kl.mean())


# ---------------------------------------------------------------------- the report


def _filled(study, ledger, *, names, seeds=4, cut=(), **levels):
    """A study whose runs are made up: AUC = level + .001 seed, NDCG and F1 .1 and .2 below."""
    source = study.protocol.Source("coat")
    cells = study.protocol.table_3_cells(names, source, {}, seeds)
    kept = [cell for cell in cells if (cell.system, cell.seed) not in cut]
    rng = np.random.default_rng(0)
    for cell in kept:
        level = levels.get(cell.system.replace("-", "_"), 0.7) + 0.001 * cell.seed + 1e-4 * rng.standard_normal()
        level -= 0.02 * (cell.params.get("balance_weight") == 0)
        ledger.put(cell, {"metrics": {"auc": level, "ndcg": level - 0.1, "f1": level - 0.2}, "seconds": 1.0})
    outcome = study.machinery.Outcome(done=kept, cut=[cell for cell in cells if cell not in kept])
    made = study.results.Results(ledger, names, [source], ["3"], [], seeds, {}, outcome, command="the command")
    return made, source


def test_the_report_sets_published_beside_ours_and_says_where_they_differ(study, tmp_path):
    names = ["naive", "ips", "multi-ips", "ips-v2", "ips-wbm"]
    with study.machinery.Ledger(tmp_path / "runs.jsonl") as ledger:
        results, _ = _filled(study, ledger, names=names, naive=0.682, ips=0.6502, ips_wbm=0.745, cut={("ips-v2", 3)})
        files = study.report.write(results, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert [file.name for file in files] == ["report.md", "results.json", "results.csv"]
    assert "| naive | 0.683 ± 0.001 | 0.680 | 0.583 ± 0.001 | 0.616 |" in text
    assert "| ips-v2 | 0.701 ± 0.001 | - |" in text
    assert "- AUC of ips on coat: 0.652 ± 0.001 over 4 seed(s) against 0.710 published, 0.058 below" in text
    assert "the published figure is not reached" in text
    assert "AUC of naive on coat" not in text
    assert "Goal AUC of ips-wbm >= 0.740: reached" in text
    assert "Goal NDCG@5 of ips-wbm >= 0.686: missed" in text
    assert "over λ_b = 0 in 4 seeds: balancing gains." in text
    assert "- cut (the budget): ips-v2 on coat" in text
    assert "seeds 3" in text
    assert "No search: every system has the package's default parameters" in text
    content = json.loads((tmp_path / "results.json").read_text())
    assert len(content["runs"]) == 23
    assert {row["kind"] for row in content["comparisons"]["coat"]} == {"λ_b = 0", "moments", "best baseline"}
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0].startswith("system,data,metric,n,mean,sd,low,high,published,embedding_dim")
    assert len(lines) == 1 + 3 * 6


def test_no_gain_is_called_none(study, tmp_path):
    with study.machinery.Ledger(tmp_path / "runs.jsonl") as ledger:
        results, source = _filled(study, ledger, names=["ips-wbm"])
        own = results.sample("auc", "ips-wbm", source)
        noise = dict(zip(own, (0.01, -0.01, 0.008, -0.009), strict=True))

        def sentence(other):
            difference = study.machinery.paired(own, other)
            one = study.machinery.Comparison("ips-wbm", "itself", "coat", "auc", difference, "λ_b = 0")
            return study.results.gain_sentence(one, 5)

        assert sentence({seed: own[seed] + noise[seed] for seed in own}).endswith("the gain is not there.")
        assert sentence({seed: own[seed] + 0.02 + 0.01 * noise[seed] for seed in own}).endswith("balancing loses.")
        assert sentence({0: own[0]}).endswith("with one seed, which tells nothing of its spread.")


def test_p_values_are_adjusted_over_the_table(study, tmp_path):
    with study.machinery.Ledger(tmp_path / "runs.jsonl") as ledger:
        results, source = _filled(study, ledger, names=["multi-ips", "ips", "ips-wbm"], ips=0.72, ips_wbm=0.745)
        found = study.results.comparisons(results, source)
    assert [(one.kind, one.rival) for one in found[:2]] == [("λ_b = 0", "ips-wbm, λ_b = 0"), ("best baseline", "ips")]
    raw = [one.difference.t_p for one in found]
    assert [one.t_holm for one in found] == study.machinery.holm(raw)
    assert max(raw) < 1e-4


def test_the_whole_command_runs_resumes_and_reports(study, tmp_path, capsys):
    arguments = ["--data", "synthetic", "--systems", "naive,ips-wbm", "--table", "3", "--trials", "2"]
    arguments += ["--search-seeds", "1", *SMALL, "--out", str(tmp_path)]
    assert study.main.main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Search: 2 trials x 2 systems and data x 1 seeds, about" in said
    assert "are open: about" in said
    assert not (tmp_path / "report.md").exists()
    assert study.main.main(arguments) == 0
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert study.main.main(arguments) == 0
    assert (tmp_path / "runs.jsonl").read_text().splitlines() == lines
    records = [json.loads(line) for line in lines]
    searched = [record for record in records if record["cell"]["purpose"] == "search"]
    assert len(searched) == 4
    assert all("metrics" not in record and record["cell"]["seed"] >= 1000 for record in searched)
    text = (tmp_path / "report.md").read_text()
    assert "No published figure stands beside any of these." in text
    assert "Search by optuna over learning_rate, batch_size, embedding_dim, weight_decay" in text
    assert "2 of 2 trials a system" in text
    assert "## Parameters chosen on validation pairs" in text
    assert "chosen by log loss on a tenth of the observed" in text
    assert "--systems naive,ips-wbm" in text
    assert str(tmp_path) not in text
    assert "Nothing: every run that was asked for is in the figures." in text


def test_the_criterion_of_validation_is_told(study, tmp_path):
    arguments = ["--data", "synthetic", "--systems", "naive", "--table", "3", "--no-search", *SMALL]
    assert study.main.main([*arguments, "--validation-metric", "auc", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "chosen by AUC on a tenth of the observed" in text
    assert "--validation-metric auc" in text
    records = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert all(0 <= record["validation"] <= 1 for record in records)
    assert {record["cell"]["params"]["validation_metric"] for record in records} == {"auc"}


def test_a_budget_that_is_too_small_is_told_in_the_report(study, tmp_path, capsys):
    arguments = ["--data", "synthetic", "--systems", "naive", "--table", "3", "--budget", "1e-6"]
    assert study.main.main([*arguments, *SMALL, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "cuts the search to 0 of 20 trials." in text
    assert "- cut (the budget): naive on synthetic" in text


def test_wrong_names_and_missing_data_are_one_line(study, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WBM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for arguments, message in (
        (["--data", "cote"], "did you mean 'coat'"),
        (["--data", "synthetic", "--systems", "ips_wbm"], "did you mean 'ips-wbm'"),
        (["--data", "coat"], "coat"),
    ):
        assert study.main.main([*arguments, *SMALL, "--out", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UnknownNameError):
        study.main.sources("nothing", {})


# ---------------------------------------------------------------------- the map


def _design(study):
    short = [replace(axis, values=axis.values[:2]) for axis in study.when.AXES if axis.name in ("overlap", "epsilon")]
    return study.when.Design(axes=short, size={"n_users": 40, "n_items": 50}, held={"epochs": 2}, seeds=2)


def test_the_map_runs_a_point_once_and_varies_one_thing(study):
    design = study.when.Design(seeds=1)
    cells = design.all_cells()
    assert len(cells) == len({cell.key() for cell in cells}) == 6 * (1 + 12 + 4) + 2 * 3
    base = study.when.BASE_DATA
    for cell in cells:
        changed = [name for name, value in base.items() if cell.data_params[name] != value]
        changed += [name for name, value in study.when.BASE_PARAMS.items() if cell.params.get(name, value) != value]
        assert len(changed) <= 1
    assert not [cell for cell in cells if cell.params["balance_weight"] == 0 and cell.params["epsilon"] != 0.05]


def test_the_map_from_runs_to_advice(study, tmp_path):
    design = _design(study)
    with study.machinery.Ledger(tmp_path / "runs.jsonl") as ledger:
        outcome = study.machinery.run_cells(design.all_cells(), study.evaluate.evaluate, ledger, progress=False)
        assert not outcome.failed
        found = design.gains(ledger)
        files = study.when.write(design, ledger, outcome, tmp_path, "the command")
    assert len(found) == 2 * 2 * 4
    assert all(file.exists() for file in files)
    content = json.loads((tmp_path / "when.json").read_text())
    assert len(content["advice"]) == 3
    assert (tmp_path / "when.md").read_text().count("| ips-wbm |") == 8


def _gains(study, **means):
    """Gains of both systems at all points of the map: .0 unless named, e.g. overlap_1=.02; all with p = .001."""
    found = []
    for system in study.when.FAMILIES:
        for rival in study.when.RIVALS:
            for axis, value in study.when.Design().points():
                mean = means.get(f"{axis.name}_{value:g}".replace(".", "_"), 0.0)
                difference = study.machinery.paired(dict.fromkeys(range(5), mean), dict.fromkeys(range(5), 0.0))
                found.append(study.map.Gain(system, rival, axis, value, difference, p=0.001 if mean else 1.0))
    return found


def test_advice_follows_the_numbers(study):
    none = study.when.advice(_gains(study))
    assert none[0].startswith("Do not expect a better ranking from balancing")
    assert "ips-wbm gains at 0 and loses at 0 of 13 points, +0.0000 on the mean" in none[0]
    assert none[1].startswith("Take transport or moments by cost")
    assert "within the noise of all others" in none[2]
    both = study.when.advice(_gains(study, overlap_1=0.02, hidden_2=-0.03, batch_size_512=0.05))
    assert both[0].startswith(
        "Turn balancing on at overlap 1 (ips-wbm) and at overlap 1 (dr-wbm), and leave it off at hidden confounding 2"
    )
    assert "gains at 1 (most, +0.0200 AUC, at overlap 1) and loses at 1 (most, -0.0300 AUC, at hidden" in both[0]
    assert "batch size 512 for ips-wbm (+0.0500 AUC), apart from 32 (+0.0000)" in both[2]
    losing = study.when.advice(_gains(study, affinity_0=-0.01))
    assert losing[0].startswith("Leave balancing off at strength of selection 0 (ips-wbm)")
    assert losing[1].startswith("Prefer moments to transport")


@pytest.mark.data
@pytest.mark.slow
def test_coat_stands_beside_the_paper(study, tmp_path):
    import os

    folder = os.environ.get("WBM_DATA")
    if folder is None or not (Path(folder) / "coat").exists():
        pytest.skip("WBM_DATA is not set")
    arguments = ["--data", "coat", "--systems", "naive,ips", "--table", "3", "--no-search", "--seeds", "2"]
    assert study.main.main([*arguments, "--epochs", "2", "--no-progress", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "| 0.680 |" in text
    assert "AUC, unseen pairs" in text
