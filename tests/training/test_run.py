"""Fits of several stages: a file each, streams that go on, and fingerprints of what must be equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wbm_ext.training import Attributes, Run, fingerprint, train


class Broken(Exception):
    """What a test breaks a fit off with."""


class Fit:
    """Two stages that share the streams, and a counter."""

    def __init__(self, random_state: Any, fail_at: int = 0, **files: Any) -> None:
        self.steps, self.fail_at, self.counted = 0, fail_at, 0
        run = Run(random_state, configuration={"rate": 0.1}, **files)
        self.split = run.streams.numpy("split").random(3)
        self.first = self.stage(run, "first")
        self.main = self.stage(run, "", counters=Attributes(self, ["counted"]))

    def stage(self, run: Run, name: str, **state: Any) -> torch.Tensor:
        model = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            model.weight.fill_(float(self.split.sum()))
        noise = run.streams.torch(f"noise {name}")

        def step(_: int) -> dict[str, torch.Tensor]:
            self.steps += 1
            if self.steps == self.fail_at:
                raise Broken
            self.counted += not name
            return {"term": (model.weight.sum() - torch.rand((), generator=noise)).square()}

        train(model, step, [0, 1], epochs=4, lr=0.1, **run.options(name, **state))
        return model.weight.detach()


def same(left: Fit, right: Fit) -> None:
    assert torch.equal(left.first, right.first)
    assert torch.equal(left.main, right.main)
    assert left.counted == right.counted == 8


@pytest.mark.parametrize("step", [3, 8, 9, 10, 14])
def test_a_fit_of_two_stages_goes_on_from_where_it_broke_off(step: int, tmp_path: Path) -> None:
    files: dict[str, Any] = {"checkpoint": tmp_path / "fit", "log": tmp_path / "log", "resume": True}
    with pytest.raises(Broken):
        Fit(3, fail_at=step, **files)
    resumed = Fit(3, **files)
    same(resumed, Fit(3))
    assert resumed.steps == 16 - 2 * ((step - 1) // 2)
    assert {path.name for path in tmp_path.iterdir()} == {"fit", "fit.first", "log", "log.first"}


@pytest.mark.parametrize("step", [3, 14])
def test_fresh_randomness_is_taken_up_again(step: int, tmp_path: Path) -> None:
    files: dict[str, Any] = {"checkpoint": tmp_path / "fit", "log": tmp_path / "fit.a"}
    with pytest.raises(Broken):
        Fit(None, fail_at=step, **files)
    resumed = Fit(None, resume=True, **files)
    again = Fit(torch.Generator(), resume=tmp_path / "fit")
    same(resumed, again)
    assert not np.array_equal(resumed.split, Fit(None).split)


def test_only_a_run_of_one_stage_may_be_lengthened(tmp_path: Path) -> None:
    def run(epochs: int, stages: tuple[str, ...]) -> None:
        run = Run(0, configuration={}, epochs=epochs, checkpoint=tmp_path / str(len(stages)), resume=True)
        for stage in stages:
            model = nn.Linear(1, 1)
            train(model, lambda _, m=model: {"term": m.weight.sum()}, [0], epochs=epochs, **run.options(stage))

    run(2, ("",))
    run(3, ("",))
    run(2, ("first", ""))
    with pytest.raises(ValueError, match=r"it differs in epochs \(2 there, 3 here\)"):
        run(3, ("first", ""))


def test_unusable_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume=True needs checkpoint=path"):
        Run(0, configuration={}, resume=True)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        Run(0, configuration={}, resume=tmp_path / "absent")
    Fit(0, checkpoint=tmp_path / "fit")
    with pytest.raises(ValueError, match="these streams follow from 1, the saved ones from 0"):
        Fit(1, checkpoint=tmp_path / "fit", resume=True)


def test_fingerprints_tell_values_shapes_and_types_apart() -> None:
    x = np.arange(6.0)
    texts = [
        fingerprint(x),
        fingerprint(x + 1e-15 * (x == 5)),
        fingerprint(x.reshape(2, 3)),
        fingerprint(x.astype("f4")),
    ]
    texts += [fingerprint(x, x), fingerprint(np.array(["a", None], dtype=object)), fingerprint(np.array(["a", "b"]))]
    assert texts[0] == fingerprint(x.copy())
    assert len(set(texts)) == len(texts)
