"""Errors of treatment effects and outcomes against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wbm_ext.datasets import Treatments
from wbm_ext.errors import UnknownNameError
from wbm_ext.metrics import (
    ate_error,
    att_error,
    auuc,
    effect_report,
    pehe,
    pehe_squared,
    predicted_effect,
    rmse_counterfactual,
    rmse_factual,
)

EFFECT, GUESS, TREATED = [1.0, 2.0, 3.0, 6.0], [1.0, 4.0, 3.0, 2.0], [1, 0, 0, 1]
Y, Y_CF = [5.0, 1.0, 2.0, 9.0], [3.0, 4.0, 4.0, 2.0]
MU0, MU1 = [3.5, 1.0, 1.0, 3.0], [4.0, 4.0, 6.0, 9.0]


def test_pehe_by_hand() -> None:
    assert pehe_squared(EFFECT, GUESS) == (0 + 4 + 0 + 16) / 4
    assert pehe(EFFECT, GUESS) == pytest.approx(np.sqrt(5))
    assert pehe(EFFECT, EFFECT) == 0


def test_pehe_of_the_best_constant_is_the_spread_of_the_effect() -> None:
    effect = np.random.default_rng(0).normal(size=200)
    assert pehe(effect, np.full(200, effect.mean())) == pytest.approx(effect.std())
    assert pehe(effect, np.full(200, effect.mean() + 0.1)) > effect.std()


def test_average_errors_by_hand() -> None:
    assert ate_error(EFFECT, GUESS) == abs(10 / 4 - 12 / 4)
    assert att_error(EFFECT, GUESS, TREATED) == abs(3 / 2 - 7 / 2)
    assert ate_error(GUESS, EFFECT) == ate_error(EFFECT, GUESS)
    assert att_error(EFFECT, GUESS, [True, True, True, True]) == ate_error(EFFECT, GUESS)


def test_rmse_reads_the_arm_received_and_the_other_one() -> None:
    # received: 4, 1, 1, 9 against 5, 1, 2, 9; the other: 3.5, 4, 6, 3 against 3, 4, 4, 2
    assert rmse_factual(Y, TREATED, MU0, MU1) == pytest.approx(np.sqrt((1 + 0 + 1 + 0) / 4))
    assert rmse_counterfactual(Y_CF, TREATED, MU0, MU1) == pytest.approx(np.sqrt((0.25 + 0 + 4 + 1) / 4))


def test_within_sample_replaces_the_predicted_factual_outcome() -> None:
    assert predicted_effect(MU0, MU1).tolist() == [0.5, 3.0, 5.0, 6.0]
    replaced = predicted_effect(MU0, MU1, within_sample="replace", y=Y, treatment=TREATED)
    assert replaced.tolist() == [5 - 3.5, 4 - 1, 6 - 2, 9 - 3]


def test_replacing_nothing_but_the_truth_changes_nothing() -> None:
    factual = np.where(TREATED, MU1, MU0)
    replaced = predicted_effect(MU0, MU1, within_sample="replace", y=factual, treatment=TREATED)
    assert np.array_equal(replaced, predicted_effect(MU0, MU1))


def test_tensors_are_taken() -> None:
    assert pehe(torch.tensor(EFFECT), torch.tensor(GUESS, requires_grad=True)) == pytest.approx(pehe(EFFECT, GUESS))


def test_the_report_holds_what_the_data_know() -> None:
    X = np.arange(4.0)[:, None]
    full = Treatments(X, TREATED, Y, mu0=MU0, mu1=MU1, y_cf=Y_CF)
    guess0, guess1 = np.array(MU0) + np.array([0, 1, 0, 0]), np.array(MU1) - np.array([0, 0, 2, 1])
    effect = guess1 - guess0
    assert effect_report(full, guess0, guess1) == {
        "rmse_factual": rmse_factual(Y, TREATED, guess0, guess1),
        "pehe": pehe(full.effect(), effect),
        "ate_error": ate_error(full.effect(), effect),
        "att_error": att_error(full.effect(), effect, TREATED),
        "rmse_counterfactual": rmse_counterfactual(Y_CF, TREATED, guess0, guess1),
        "auuc": auuc(Y, TREATED, effect),
    }
    assert set(effect_report(Treatments(X, TREATED, Y), guess0, guess1)) == {"rmse_factual", "auuc"}
    replaced = effect_report(full, guess0, guess1, within_sample="replace")
    assert replaced["pehe"] == pehe(
        full.effect(), predicted_effect(guess0, guess1, within_sample="replace", y=Y, treatment=TREATED)
    )
    assert replaced["rmse_factual"] == rmse_factual(Y, TREATED, guess0, guess1)


def test_the_report_says_nan_where_a_metric_is_undefined() -> None:
    X = np.arange(4.0)[:, None]
    untreated = effect_report(Treatments(X, [0, 0, 0, 0], Y, mu0=MU0, mu1=MU1), MU0, MU1)
    assert np.isnan(untreated["auuc"])
    assert np.isnan(untreated["att_error"])
    assert untreated["pehe"] == 0
    assert np.isnan(effect_report(Treatments(X, TREATED, np.ones(4)), MU0, MU1)["auuc"])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pehe([1, 2], [1]), ValueError, "predicted must have the length of effect, 2; got 1"),
        (lambda: pehe([], []), ValueError, "effect must hold at least one value; got length 0"),
        (lambda: pehe([[1, 2]], [[1, 2]]), ValueError, r"effect must be 1-d.*got shape \(1, 2\)"),
        (lambda: ate_error([1, np.nan], [1, 2]), ValueError, "effect: values must be finite; got nan at position 1"),
        (lambda: pehe(["a"], [1]), TypeError, "effect must hold numbers"),
        (lambda: pehe(None, [1]), TypeError, "effect must be an array, a list or a tensor of numbers; got NoneType"),
        (lambda: pehe([1, 2], [1j, 2]), TypeError, "predicted must hold numbers; got dtype complex128"),
        (lambda: att_error(EFFECT, GUESS, [0] * 4), ValueError, "must hold a treated unit"),
        (lambda: att_error(EFFECT, GUESS, [1, 2, 0, 0]), ValueError, "treatment: values must be 0 or 1; got 2"),
        (lambda: att_error(EFFECT, GUESS, [1, 0]), ValueError, "treatment must have the length of effect, 4; got 2"),
        (lambda: rmse_factual(Y, TREATED, MU0[:2], MU1), ValueError, "predicted0 must have the length of y, 4; got 2"),
        (lambda: rmse_counterfactual(Y, [1], MU0, MU1), ValueError, "treatment must have the length of y_cf, 4; got 1"),
        (lambda: predicted_effect(MU0, MU1, within_sample="replace"), ValueError, "y and treatment must be given"),
        (lambda: predicted_effect(MU0, MU1, within_sample="replaced"), UnknownNameError, "did you mean 'replace'"),
        (lambda: effect_report([1], MU0, MU1), TypeError, "data must be Treatments; got list"),
    ],
)
def test_bad_input_is_refused(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
