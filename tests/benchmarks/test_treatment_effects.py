"""The study of treatment effects at small size: its cells, what chooses, the ranks, the report, the map of gains."""

from __future__ import annotations

import json
import re
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

SMALL = ["--data", "synthetic-effects", "--units", "100", "--epochs", "4", "--no-progress"]


@pytest.fixture
def study():
    """All modules under their names."""
    from python_benchmarks import _study
    from python_benchmarks._study import map
    from python_benchmarks.treatment_effects import (
        __main__,
        data,
        evaluate,
        goals,
        protocol,
        published,
        ranks,
        report,
        results,
        selection,
        when,
    )

    modules = {"main": __main__, "machinery": _study, "map": map, "data": data, "evaluate": evaluate, "goals": goals}
    modules |= {"protocol": protocol, "published": published, "ranks": ranks, "report": report}
    modules |= {"results": results, "selection": selection, "when": when}
    return types.SimpleNamespace(**modules)


def _source(study):
    return study.data.Source("synthetic-effects", {"n": 100})


def _cell(study, system="tarnet", purpose="report", seed=3, **params):
    params = study.protocol.settle(system, "synthetic-effects", {"epochs": 6, **params})
    return study.machinery.Cell(system, "synthetic-effects", seed, params, {"n": 100}, purpose)


# ---------------------------------------------------------------------- cells


def test_every_system_has_a_row_and_every_network_a_search(study):
    from wbm_ext.ite import create, systems

    rows = study.protocol.table_rows(systems())
    assert [row.system for row in rows] == [*systems(), "escfr"]
    networks = [name for name in systems() if study.protocol.network(name)]
    assert len(networks) == 9
    for name in networks:
        for data in ("acic2016", "ihdp", "synthetic-effects"):
            space = study.protocol.space(name, study.data.Source(data, {"file": 1} if data == "acic2016" else {}))
            for setting in space.first:
                create(name, **study.evaluate.parameters({**space.cell.params, **setting}))


def test_the_parts_of_escfr_differ_in_nothing_else(study):
    source = _source(study)
    whole = study.protocol.row_cells(study.protocol.Row("escfr", "escfr"), source, {}, 1)[0]
    for row in study.protocol.ABLATION:
        cell = study.protocol.row_cells(row, source, {}, 1)[0]
        changed = {name: value for name, value in cell.params.items() if whole.params[name] != value}
        assert changed == dict(row.params)
    assert study.evaluate.parameters({"kappa": "inf"}) == {"kappa": np.inf}


def test_parameters_that_were_found_reach_the_parts(study):
    source = _source(study)
    parameters = {("escfr", "synthetic-effects"): {"balance_weight": 3.0, "kappa": 5.0}}
    neither, rmpr, *_ = study.protocol.ABLATION
    cells = [study.protocol.row_cells(row, source, parameters, 1)[0] for row in (neither, rmpr)]
    assert [cell.params["kappa"] for cell in cells] == ["inf", 5.0]
    assert {cell.params["balance_weight"] for cell in cells} == {3.0}


def test_tables_and_figures_share_their_runs(study):
    source = _source(study)
    rows = study.protocol.table_rows(["tarnet", "cfr-wass", "escfr"])
    table = {cell.key() for cell in study.protocol.table_cells(rows, [source], {}, 3)}
    sweeps = study.protocol.sweep_cells([source], {}, 3)
    batches = study.protocol.batch_cells([source], {}, 3)
    assert len(table) == 4 * 3
    assert len({cell.key() for cell in sweeps}) == 3 * (5 + 5 + 6 + 5 - 3)
    assert len(table & {cell.key() for cell in sweeps}) == 3
    assert len(table & {cell.key() for cell in batches}) == 3 * 3
    assert [cell.seed for cell in sweeps] == sorted(cell.seed for cell in sweeps)


def test_a_run_of_ihdp_is_a_realisation_and_a_run_of_acic_a_seed(study):
    ihdp, acic = study.data.Source("ihdp"), study.data.Source("acic2016", {"file": 4})
    assert ihdp.runs(20) == [(run, {"realisation": run + 1}) for run in range(10)]
    assert acic.runs(2) == [(0, {"file": 4}), (1, {"file": 4})]
    assert (acic.label, acic.constant, study.data.Source("acic2016", {"file": 2}).constant) == ("ACIC 4", False, True)


def test_the_slow_forest_has_one_seed_a_file(study):
    rows = study.protocol.table_rows(["ols", "orthogonal-forest"])
    cells = study.protocol.table_cells(rows, [study.data.Source("acic2016", {"file": 1}), _source(study)], {}, 4)
    counts = {(cell.system, cell.data): 0 for cell in cells}
    for cell in cells:
        counts[cell.system, cell.data] += 1
    assert counts.pop(("orthogonal-forest", "acic2016")) == 1
    assert set(counts.values()) == {4}


# ---------------------------------------------------------------------- evaluation


def test_a_search_never_touches_the_test_part(study, monkeypatch):
    split = study.data.parts(_cell(study))
    blind = types.SimpleNamespace(train=split.train, validation=split.validation)
    seeing = study.evaluate.evaluate(_cell(study))
    monkeypatch.setattr(study.evaluate, "parts", lambda cell: blind)
    record = study.evaluate.evaluate(_cell(study, purpose="search"))
    assert set(record) == {"validation"}
    least = min(seeing["curve"]["factual"]) / split.validation.y.std()
    assert record["validation"] == pytest.approx(least, rel=1e-3)
    with pytest.raises(AttributeError, match="test"):
        study.evaluate.evaluate(_cell(study))


def test_counterfactual_outcomes_choose_nothing_but_the_oracle(study, monkeypatch):
    """Other truths, same factual outcomes: the rules choose the same epochs and predictions."""
    split = study.data.parts(_cell(study))
    record = study.evaluate.evaluate(_cell(study))

    def lied(part):
        return replace(part, mu0=part.mu1[::-1], mu1=3 * part.mu0, y_cf=-part.y_cf)

    other = study.data.Parts(*(lied(part) for part in (split.train, split.validation, split.test)))
    monkeypatch.setattr(study.evaluate, "parts", lambda cell: other)
    false = study.evaluate.evaluate(_cell(study))
    for rule in set(study.evaluate.RULES) - {"oracle"}:
        assert false["epochs"][rule] == record["epochs"][rule]
        assert false["metrics"][f"{rule}.auuc_out"] == record["metrics"][f"{rule}.auuc_out"]
        assert false["metrics"][f"{rule}.pehe_out"] != record["metrics"][f"{rule}.pehe_out"]


def test_each_rule_takes_its_epoch_and_the_model_of_that_epoch(study):
    from wbm_ext.ite import create
    from wbm_ext.metrics import auuc, pehe

    cell = _cell(study)
    record = study.evaluate.evaluate(cell)
    curve, epochs, metrics = record["curve"], record["epochs"], record["metrics"]
    assert epochs["factual"] == int(np.argmin(curve["factual"])) + 1
    assert epochs["auuc"] == int(np.argmax(curve["auuc"])) + 1
    assert epochs["auuc_late"] == int(np.argmax(curve["auuc"][2:])) + 3
    assert epochs["oracle"] == int(np.argmin(curve["pehe"])) + 1
    assert epochs["last"] == 6
    for rule, epoch in epochs.items():
        assert metrics[f"{rule}.pehe_out"] == pytest.approx(curve["pehe"][epoch - 1], rel=1e-3)
    split = study.data.parts(cell)
    options = {**cell.params, "epochs": 6, "selection": "factual", "patience": 6}
    model = create("tarnet", preset="paper", **options, random_state=3)
    held_out = (split.validation.X, split.validation.y, split.validation.treatment)
    model.fit(split.train.X, split.train.y, treatment=split.train.treatment, validation=held_out)
    effect = model.effect(split.test.X)
    assert metrics["factual.pehe_out"] == pytest.approx(pehe(split.test.effect(), effect))
    assert metrics["factual.auuc_out"] == pytest.approx(auuc(split.test.y, split.test.treatment, effect))


def test_figures_within_the_sample_take_the_observed_outcome(study):
    data = study.data.parts(_cell(study)).train
    perfect = np.column_stack([data.mu0, data.mu1])
    found = study.evaluate.figures(data, perfect, 1.0, "in")
    noise = np.where(data.treatment == 1, data.y - data.mu1, data.mu0 - data.y)
    assert found["pehe_in"] == pytest.approx(np.sqrt(np.square(noise).mean()))
    assert found["pehe_in_model"] == found["ate_in"] == found["att_in"] == 0.0
    assert "scaled_in" not in study.evaluate.figures(data, perfect, 0.0, "in")


def test_a_statistical_system_has_the_same_figures_by_every_rule(study):
    record = study.evaluate.evaluate(_cell(study, "ols"))
    values = {record["metrics"][f"{rule}.pehe_out"] for rule in study.evaluate.RULES}
    assert len(values) == 1
    assert "epochs" not in record


# ---------------------------------------------------------------------- ranks


def _scores(runs=10, **levels):
    rng = np.random.default_rng(0)
    common = {data: rng.standard_normal(runs) for data in "abcde"}
    return {
        name: {data: dict(enumerate(level + 0.3 * noise + 0.01 * rng.random(runs))) for data, noise in common.items()}
        for name, level in levels.items()
    }


def test_ranks_follow_the_scores_and_noise_common_to_all_does_not_count(study):
    found = study.ranks.standings(_scores(best=1.0, ours=1.1, worst=1.2), "ours", draws=500)
    assert [(one.system, one.rank, one.low_rank, one.high_rank) for one in found] == [
        ("best", 1, 1, 1),
        ("ours", 2, 2, 2),
        ("worst", 3, 3, 3),
    ]
    best, ours, worst = found
    assert best.low > 0 > worst.high
    assert best.p == pytest.approx(2 / 501)
    assert best.p_holm == pytest.approx(2 * best.p)
    assert ours.p is None


def test_equal_systems_are_not_told_apart(study):
    rng = np.random.default_rng(1)
    scores = {name: {data: dict(enumerate(rng.random(8))) for data in "abcde"} for name in ("ours", "other")}
    one = next(one for one in study.ranks.standings(scores, "ours", draws=500) if one.system == "other")
    assert one.low < 0 < one.high
    assert one.p > 0.05


def test_systems_are_ranked_by_the_runs_that_all_have(study):
    scores = _scores(ours=1.0, other=2.0, third=1.5)
    del scores["third"]["b"][4]
    kept, without = study.ranks.common(scores)
    assert (list(kept), without) == (["ours", "other", "third"], [])
    assert [len(kept["ours"][data]) for data in "abcde"] == [10, 9, 10, 10, 10]
    scores["third"]["c"] = {0: 1.5}
    kept, without = study.ranks.common(scores)
    assert (list(kept), without) == (["ours", "other"], ["third"])
    assert all(len(kept["ours"][data]) == 10 for data in "abcde")


# ---------------------------------------------------------------------- the command and its report


def test_the_whole_command_runs_resumes_and_reports(study, tmp_path, capsys):
    arguments = [*SMALL, "--systems", "ols,tarnet,cfr-wass,escfr", "--trials", "2", "--search-seeds", "1"]
    arguments += ["--seeds", "2", "--sweep-seeds", "1", "--out", str(tmp_path)]
    assert study.main.main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Search: 2 trials x 3 systems and data x 1 seeds, about" in said
    assert "are open: about" in said
    assert not (tmp_path / "report.md").exists()
    assert study.main.main(arguments) == 0
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert study.main.main(arguments) == 0
    assert (tmp_path / "runs.jsonl").read_text().splitlines() == lines
    searched = [record for record in map(json.loads, lines) if record["cell"]["purpose"] == "search"]
    assert searched
    assert all("metrics" not in record and record["cell"]["seed"] >= 1000 for record in searched)
    text = (tmp_path / "report.md").read_text()
    for heading in ("Selection", "Ranks", "Table 1", "Table 2", "Table 4", "Table 5", "Table 7", "Table 8", "Figure 7"):
        assert f"## {heading}" in text
    for heading in ("The factual loss of Eq. 13", "What the regularisers did"):
        assert f"## {heading}" in text
    assert "Goal, escfr first of 4 systems at the epoch of the factual error" in text
    assert "Goal, RMPR only better than neither" in text
    assert str(tmp_path) not in text
    assert "Nothing: every run that was asked for is in the figures." in text
    for name in ("5", "7", "8", "10", "11", "12"):
        assert (tmp_path / f"figure{name}.png").exists()
    rows = (tmp_path / "runs.csv").read_text().splitlines()
    content = json.loads((tmp_path / "results.json").read_text())
    assert rows[0].startswith("system,data,n,seed,pehe_in")
    assert f"{len(rows) - 1} cells are finished, none is open" in capsys.readouterr().out
    assert set(content["standings"]) == {"factual", "auuc", "matched_pehe"}


def test_a_budget_that_is_too_small_is_told_in_the_report(study, tmp_path):
    arguments = [*SMALL, "--systems", "ols,tarnet", "--table", "1", "--budget", "1e-6", "--out", str(tmp_path)]
    assert study.main.main(arguments) == 0
    text = (tmp_path / "report.md").read_text()
    assert "cuts the search to 0 of 12 trials." in text
    assert "- cut (the budget): ols on synthetic-effects; tarnet on synthetic-effects, scale=None" in text


def test_wrong_names_and_missing_data_are_one_line(study, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WBM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for arguments, message in (
        (["--data", "idhp"], "did you mean 'ihdp'"),
        (["--data", "synthetic-effects", "--systems", "esfcr"], "did you mean 'escfr'"),
        (["--data", "ihdp"], "ihdp"),
        ([], "name its folder, or use --data synthetic-effects"),
    ):
        assert study.main.main([*arguments, "--out", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err


def test_published_figures_stand_beside_the_first_file_only(study):
    acic = [study.data.Source("acic2016", {"file": file}) for file in (1, 4)]
    assert study.published.entries("tarnet", acic[0])["pehe_out"] == 3.254
    assert study.published.entries("tarnet", acic[1]) == {}
    assert study.published.entries("neither", acic[0], "2") == {"pehe_out": 3.207}
    assert study.published.entries("cfr-wass", acic[0])["pehe_out"] == 3.207
    assert study.published.entries("ols", study.data.Source("ihdp")) == {}


# ---------------------------------------------------------------------- the map


def test_the_map_runs_a_point_once_and_varies_one_thing(study):
    design = study.when.Design(seeds=1)
    cells = design.all_cells()
    assert len(cells) == len({cell.key() for cell in cells})
    neither = study.protocol.row_cells(study.protocol.ABLATION[0], _source(study), {}, 1)[0].params
    for cell in cells:
        changed = [name for name, value in study.when.BASE_DATA.items() if cell.data_params[name] != value]
        for name, value in study.when.BASE_PARAMS.items():
            if name in cell.params and cell.params[name] not in (value, neither[name]):
                changed.append(name)
        assert len(changed) <= 1


def test_the_map_from_runs_to_advice(study, tmp_path):
    axes = [replace(axis, values=axis.values[:2]) for axis in study.when.AXES if axis.name in ("overlap", "kappa")]
    design = study.when.Design(axes=axes, units=100, held={"epochs": 3}, seeds=2)
    with study.machinery.Ledger(tmp_path / "runs.jsonl") as ledger:
        outcome = study.machinery.run_cells(design.all_cells(), study.evaluate.evaluate, ledger, progress=False)
        assert not outcome.failed
        found = design.gains(ledger)
        files = study.when.write(design, ledger, outcome, tmp_path, "the command")
    assert len(found) == 2 * 6 + 2 * 2
    assert all(file.exists() for file in files)
    content = json.loads((tmp_path / "when.json").read_text())
    assert len(content["advice"]) == 3
    assert len(content["criteria"]) == 3 * 2


def _gains(study, **means):
    """Gains of all pairs at all points: 0 unless named by axis and value, e.g. overlap_1=.2; then all rows share it."""
    found = []
    for axis, value in study.when.Design().points():
        for row, rival, _ in axis.pairs:
            mean = means.get(f"{axis.name}_{value:g}".replace(".", "_"), 0.0)
            difference = study.machinery.paired(dict.fromkeys(range(5), mean), dict.fromkeys(range(5), 0.0))
            found.append(study.map.Gain(row, rival, axis, value, difference, p=0.001 if mean else 1.0))
    return found


def test_advice_follows_the_numbers(study):
    none = study.when.advice(_gains(study), [])
    assert none[0].startswith("Expect no measurable gain of relaxed mass and outcomes in the cost")
    assert "RMPR only gains at 0 and loses at 0 of 14 points" in none[0]
    assert none[1].startswith("Expect no measurable gain of balancing by transport")
    gained = study.when.advice(_gains(study, kappa_0_1=0.2), [])
    assert gained[0].startswith("Use relaxed mass and outcomes in the cost at κ 0.1 (RMPR only) and at κ 0.1")
    lost = study.when.advice(_gains(study, balance_weight_3=-0.2), [])
    assert lost[1].startswith("Leave out balancing by transport at λ 3 (neither)")
    overlap, outliers = study.when.AXES[:2]
    regrets = [
        study.when.Regret(criterion, axis, value, study.machinery.summarize([loss, loss]))
        for axis, value, losses in ((overlap, 1.0, (0.2, 0.1)), (overlap, 0.5, (0.4, 0.3)), (outliers, 0.0, (0.4, 0.3)))
        for criterion, loss in zip(("auuc", "factual"), losses, strict=True)
    ]
    regrets += [study.when.Regret("auuc", outliers, 0.3, study.machinery.summarize([0.3]))]
    text = study.when.advice([], regrets)[2]
    assert "by factual error at overlap 1, the base point; by AUUC at outliers 0.3; PEHE above" in text
    assert "mean over the points: AUUC 30 %" in text


def test_the_guide_to_selection_has_the_figures_of_the_report() -> None:
    from wbm_ext.ite.neural import NeuralEstimator

    root = Path(__file__).resolve().parents[2]
    report = sorted(root.glob("python_benchmarks/results/treatment-effects-cpu-*/report.md"))[-1].read_text()
    line = next(line for line in report.splitlines() if line.startswith("- Mean loss against the best epoch"))
    lost = re.findall(r"\d+ %", line)  # factual error, matched PEHE, AUUC
    assert len(lost) == 3
    assert re.findall(r"^     - (\d+ %)$", (root / "docs/howto/selection.rst").read_text(), re.MULTILINE) == lost
    assert re.findall(r"\d+ %", NeuralEstimator.__doc__ or "") == lost


# ---------------------------------------------------------------------- what a regulariser did


def _records(*figures):
    return [{"validation_auuc": 0.0}, *figures]


def test_a_regulariser_that_moves_no_mass_or_leaves_its_discrepancy_is_inert():
    from python_benchmarks.treatment_effects.regularisers import diagnostics, effect

    def of(start, end, **mass):
        first, last = ({"discrepancy": value, "transported_mass": m} for value, m in ((start, 0.9), (end, 0.9)))
        last |= mass
        return effect({0: {"diagnostics": diagnostics(_records(first, last))}}, 0.3)

    assert not of(1.0, 0.5).inert
    assert of(0.0548, 0.0548).inert  # a saturated kernel: 1/n + 1/m whatever the representation
    assert of(1.0, 0.5, transported_mass=0.01).inert
    assert of(1.0, 0.5, transported_mass=14.0).effective_weight == pytest.approx(4.2)
    assert diagnostics(_records({"discrepancy": 2.0}, {"discrepancy": 1.0})) == {
        "discrepancy_start": 2.0, "discrepancy": 1.0,
    }  # fmt: skip
    assert effect({0: {"metrics": {}}}, 1.0) is None


def test_a_fit_records_the_discrepancy_of_its_first_and_its_last_epoch(study):
    record = study.evaluate.evaluate(_cell(study, "escfr", balance_weight=1.0, kappa="inf"))["diagnostics"]
    assert record["transported_mass"] == pytest.approx(1, abs=1e-3)
    assert record["discrepancy_start"] > 0
    assert record["discrepancy"] != record["discrepancy_start"]
    assert "discrepancy_start" not in study.evaluate.evaluate(_cell(study, "tarnet"))["diagnostics"]


def test_every_network_has_the_trials_that_reach_its_own_parameters(study):
    """As many trials for each; the first ones hold every value of what is the system's own, one at a time."""
    source = study.data.Source("acic2016", {"file": 1})
    from wbm_ext.ite import systems

    for name in (name for name in systems() if study.protocol.network(name)):
        space = study.protocol.space(name, source)
        size = np.prod([len(values) for values in space.grid.values()])
        assert size >= study.protocol.TRIALS
        first = space.first[: study.protocol.TRIALS]
        for parameter in set(space.grid) - {"learning_rate", "weight_decay"}:
            assert {setting[parameter] for setting in first} == set(space.grid[parameter])


def test_the_literal_rows_are_the_letter_of_the_paper_and_choose_by_every_second_epoch(study):
    from python_benchmarks.treatment_effects.tables import every_second

    *_, escfr = study.protocol.LITERAL
    params = study.protocol.row_cells(escfr, study.data.Source("ihdp"), {}, 1)[0].params
    wanted = {"batch_size": 32, "epochs": 400, "start_epoch": 20, "reference": "entropy"}
    assert {name: params[name] for name in wanted} == wanted
    curve = {"auuc": [0.9, 0.5, 0.8, 0.6], "pehe": [1.0, 2.0, 3.0, 4.0]}
    assert every_second({"curve": curve}) == 4.0  # epoch 1 and 3 are not looked at
    assert every_second({}) is None


def test_the_loss_of_equation_13_is_a_row_of_its_own(study):
    for row in study.protocol.GROUPS:
        plain, groups = (
            study.protocol.row_cells(one, study.data.Source("ihdp"), {}, 1)[0].params
            for one in (study.protocol.Row(row.system, row.system), row)
        )
        assert {name for name in plain if plain[name] != groups[name]} == {"factual_loss"}
