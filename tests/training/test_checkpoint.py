"""A run that was broken off ends bit for bit where it would have ended, wherever it was broken off."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import interrupted_run
import numpy as np
import pytest
import torch
from interrupted_run import run
from torch import nn

from wbm_ext.errors import FileFormatError
from wbm_ext.persistence import write_document
from wbm_ext.training import History, Streams, train


class Broken(Exception):
    """What a test breaks a run off with."""


def same(left: tuple[nn.Module, History], right: tuple[nn.Module, History]) -> None:
    for (name, value), other in zip(left[0].state_dict().items(), right[0].state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    for field in ("records", "best_epoch", "best_validation", "stopped"):
        assert getattr(left[1], field) == getattr(right[1], field)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("step", [1, 6, 18, 35])
def test_a_run_that_broke_off_ends_where_it_would_have_ended(step: int, every: int, tmp_path: Path) -> None:
    expected = run()
    files: dict[str, Any] = {"checkpoint": tmp_path / "c", "log": tmp_path / "l", "checkpoint_every": every}
    with pytest.raises(Broken):
        run(fail_at=(step, Broken()), **files)
    resumed = run(resume=True, **files)
    same(resumed, expected)
    lines = [json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]
    assert [{name: float(value) for name, value in line.items() if name != "seconds"} for line in lines] == [
        *expected[1].records
    ]


def test_a_run_may_break_off_again_and_again(tmp_path: Path) -> None:
    for step in (7, 3, 9, 5):
        with pytest.raises(Broken):
            run(checkpoint=tmp_path / "c", resume=True, fail_at=(step, Broken()))
    same(run(checkpoint=tmp_path / "c", resume=True), run())


def test_a_finished_run_comes_back_and_takes_no_step(tmp_path: Path) -> None:
    finished = run(checkpoint=tmp_path / "c")
    assert finished[1].stopped in {"patience", "epochs"}
    same(run(checkpoint=tmp_path / "c", resume=True, fail_at=(1, Broken())), finished)


def test_more_epochs_lengthen_a_run(tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "c", epochs=3, patience=20)
    same(run(checkpoint=tmp_path / "c", resume=True, epochs=7, patience=20), run(epochs=7, patience=20))


def test_fewer_epochs_than_a_checkpoint_has_are_refused(tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "c", epochs=3)
    with pytest.raises(ValueError, match="epochs=2 is less than the 3 that the checkpoint has behind it"):
        run(checkpoint=tmp_path / "c", resume=True, epochs=2)


def test_another_file_can_be_resumed_from_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Broken):
        run(checkpoint=tmp_path / "a", fail_at=(9, Broken()))
    before = (tmp_path / "a").read_bytes()
    same(run(checkpoint=tmp_path / "b", resume=tmp_path / "a"), run())
    assert (tmp_path / "a").read_bytes() == before
    assert (tmp_path / "b").is_file()


def test_without_resume_a_run_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(Broken):
        run(checkpoint=tmp_path / "c", log=tmp_path / "l", fail_at=(9, Broken()))
    same(run(checkpoint=tmp_path / "c", log=tmp_path / "l"), run())
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "l").read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.01}, r"optimizers\.prediction\.groups\.0\.lr \(0\.05 there, 0\.01 here\)"),
        ({"patience": 7}, r"patience \(4 there, 7 here\)"),
        ({"configuration": {"data": "b"}}, r"data \(a there, b here\)"),
        ({"validate": None}, r"validated \(True there, False here\)"),
        ({"state": {}}, r"state streams \(kept there, absent here\)"),
        ({"callbacks": []}, r"callback 0 \(kept there, absent here\)"),
    ],
)  # fmt: skip
def test_another_configuration_is_refused_and_named(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"checkpoint": tmp_path / "c", "configuration": {"data": "a"}, "epochs": 2}
    run(**given)
    with pytest.raises(ValueError, match=named):
        run(**{**given, "resume": True, **changes})


def test_another_random_state_is_refused(tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "c", epochs=2)
    with pytest.raises(ValueError, match="these streams follow from 1, the saved ones from 0"):
        run(checkpoint=tmp_path / "c", resume=True, random_state=1)


def test_unusable_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume=True needs checkpoint=path"):
        run(resume=True)
    with pytest.raises(FileNotFoundError, match="resume: there is no checkpoint"):
        run(resume=tmp_path / "absent")
    with pytest.raises(ValueError, match="checkpoint_every must be an integer of at least 1; got 0"):
        run(checkpoint=tmp_path / "c", checkpoint_every=0)
    with pytest.raises(TypeError, match=r"state\['x'\] must be a torch.Generator, .*; got int"):
        run(checkpoint=tmp_path / "c", state={"x": 3})
    write_document(tmp_path / "m", "model", 1, {})
    with pytest.raises(FileFormatError, match="is a wbm_ext model; expected a checkpoint"):
        run(resume=tmp_path / "m")


def test_ctrl_c_leaves_the_last_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        run(checkpoint=tmp_path / "c", fail_at=(10, KeyboardInterrupt()))
    assert caught.value.__notes__ == [
        f"stopped in epoch 3; {tmp_path / 'c'} holds the run after epoch 2: start it again with resume=True (--resume) to go on"
    ]
    same(run(checkpoint=tmp_path / "c", resume=True), run())


@pytest.mark.slow
def test_kill_at_a_random_moment(tmp_path: Path) -> None:
    checkpoint, log = tmp_path / "c", tmp_path / "l"
    command = [sys.executable, interrupted_run.__file__, str(checkpoint), str(log)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    deadline = time.monotonic() + 60
    while not (log.is_file() and log.read_bytes().count(b"\n") > 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    delay = random.SystemRandom().uniform(0, 0.2)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    options: dict[str, Any] = {"epochs": 200, "patience": 200}
    resumed = run(checkpoint=checkpoint, log=log, resume=True, **options)
    same(resumed, run(**options))
    assert len(log.read_text().splitlines()) == 200, f"killed {delay:.3f} s after epoch 20"


def test_every_bit_generator_of_numpy_can_be_kept(tmp_path: Path) -> None:
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        left, right = (np.random.Generator(kind(3)) for _ in range(2))
        model = nn.Linear(1, 1)

        def fit(rng: np.random.Generator, epochs: int, model: nn.Module = model, **options: Any) -> History:
            batches = [0]
            step = lambda _: {"term": model.weight.sum() * float(rng.random())}  # noqa: E731
            return train(model, step, batches, epochs=epochs, checkpoint=tmp_path / "c", state={"rng": rng}, **options)

        fit(left, 2)
        fit(right, 4, resume=True)
        assert right.random() == np.random.Generator(kind(3)).random(5)[-1]


def test_streams_restore_those_that_are_asked_for_later_too() -> None:
    streams = Streams(0)
    early, late = streams.torch("a"), streams.numpy("b")
    torch.rand(3, generator=early)
    late.random(2)
    saved = streams.state_dict()
    expected = (float(torch.rand((), generator=early)), late.random())
    again = Streams(0)
    early = again.torch("a")
    again.load_state_dict(saved)
    assert again.state_dict()["generators"].keys() == saved["generators"].keys()
    late = again.numpy("b")
    assert (float(torch.rand((), generator=early)), late.random()) == expected


def test_the_log_is_strict_json(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)

    def odd(epoch: int, record: dict[str, float]) -> None:
        record.update(ess=math.nan, ratio=math.inf)

    train(model, lambda _: {"term": model.weight.sum()}, [0], epochs=2, callbacks=[odd], log=tmp_path / "l")

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "l").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["ess"] is None and line["ratio"] is None and line["seconds"] >= 0 for line in lines)
