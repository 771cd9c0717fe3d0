"""The training-step benchmark at tiny sizes: same loss from both terms, honest data, the command; warm starts."""

from __future__ import annotations

import json

import pytest
import torch


@pytest.fixture
def steps():
    from python_benchmarks import _steps

    return _steps


@pytest.fixture
def data(steps):
    return steps.generate(steps.Shape(60, 50, 400))


def test_exactly_the_ratings_asked_for(steps, data):
    assert len(data.keys) == len(torch.unique(data.keys)) == 400
    assert bool((data.keys[1:] > data.keys[:-1]).all())
    assert 0 <= int(data.keys.min()) < int(data.keys.max()) < 3000
    assert 0.2 < float(data.labels.mean()) < 0.8


def test_batches_hold_half_observed_pairs(steps, data):
    drawn = steps.batches(data, 64, 15)
    assert len(drawn) == 15
    for batch in drawn:
        inside = torch.isin(batch.keys, data.keys)
        assert torch.equal(inside, batch.observed)
        assert int(inside.sum()) == 32 == len(torch.unique(batch.keys[:32]))
        assert torch.equal(batch.users * 50 + batch.items, batch.keys)
        assert float(batch.labels[32:].sum()) == 0
    with pytest.raises(ValueError, match=r"pairs must be even and in \[2, 800\], got 802"):
        steps.batches(data, 802, 1)


def test_both_terms_are_the_same_loss(steps, data, monkeypatch):
    monkeypatch.setattr(steps, "TOLERANCE", 1e-6)
    monkeypatch.setitem(steps.OPTIONS, "tol", 1e-6)
    batch = steps.batches(data, 64, 1)[0]
    trainer = steps.Trainer(data, 8)
    for _ in range(20):
        trainer.step(batch)
    phi = trainer.model(batch)[1].detach()
    values, grads = [], []
    for term in (steps.wbm, steps.log_domain):
        q = torch.linspace(0.1, 0.8, 64).requires_grad_()
        value = term(batch, q, phi)
        value.backward()
        values.append(value.detach())
        grads.append(q.grad)
    torch.testing.assert_close(*values, rtol=1e-4, atol=0)
    torch.testing.assert_close(*grads, rtol=1e-2, atol=1e-4)
    assert float(grads[0].abs().max()) > 1e-3


def test_trainers_start_alike_and_the_term_reaches_the_propensity_only(steps, data):
    bare, ours = steps.Trainer(data, 8), steps.Trainer(data, 8, steps.wbm)
    batch = steps.batches(data, 64, 1)[0]
    for trainer in (bare, ours):
        torch.nn.init.normal_(trainer.model.tower[2].weight, generator=torch.Generator().manual_seed(0))
        trainer.loss(batch).backward()
    pairs = dict(ours.model.named_parameters())
    for name, parameter in bare.model.named_parameters():
        same = torch.equal(parameter.grad, pairs[name].grad)
        assert same is (name == "bias")  # of the rating alone


def test_a_race_interleaves_and_reports_the_extra(steps, monkeypatch):
    from python_benchmarks import training_step as command

    ticks = dict(zip(command.SUBJECTS, (1.0, 1.5, 9.0), strict=True))
    now, order = [0.0], []

    def step(self, batch):
        name = next(n for n, term in command.SUBJECTS.items() if term is self.term)
        order.append(name)
        now[0] += ticks[name]

    monkeypatch.setattr(steps.Trainer, "step", step)
    record = command.race(steps.Shape(60, 50, 400), 32, 4, rounds=4, warm_up=1, clock=lambda: now[0])
    assert record[command.BARE]["seconds"]["median"] == pytest.approx(1.0)
    assert record[command.OURS]["extra"]["median"] == pytest.approx(0.5)
    assert record[command.LOOP]["extra"]["median"] == pytest.approx(8.0)
    blocks = order[3 :: command.BLOCK]
    assert [blocks.count(name) for name in command.SUBJECTS] == [4, 4, 4]
    assert blocks[0] != blocks[3] != blocks[6]
    assert command.met("Coat-shaped", record)
    assert not command.met("Music-shaped", record)


def test_the_command(tmp_path, capsys):
    from python_benchmarks.training_step import LOOP, OURS, main

    line = ["--quick", "--rounds", "2", "--threads", "1", "--partial", str(tmp_path / "run.json")]
    assert main(line) == 0
    content = json.loads((tmp_path / "run.json").read_text())
    for record in content["records"].values():
        assert record[OURS]["seconds"]["repeats"] == record[LOOP]["extra"]["repeats"] == 2
        assert record[OURS]["residual"] <= content["setting"]["tolerance"]
    text = capsys.readouterr().out
    assert "Coat-shaped, 1 threads" in text
    assert "goal" not in text
