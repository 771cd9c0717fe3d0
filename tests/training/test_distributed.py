"""Two processes that share each batch end with the model of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import distributed_run
import pytest
import torch

from wbm_ext.training import distributed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, distributed_run.__file__, str(folder)], env=environment, text=True, capture_output=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


def results(folder: Path, name: str) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


def test_a_gathered_batch_is_whole_and_its_gradient_counted_once(folder: Path) -> None:
    x = torch.arange(10.0, dtype=torch.float64).reshape(5, 2)
    for rank, found in enumerate(results(folder, "primitives")):
        assert (found["rank"], found["world"]) == (rank, 2)
        assert torch.equal(found["gathered"], x)
        # the objective is sum over ranks of (rank + 1) / 2 |x|^2 = 1.5 |x|^2; each rank has the rows it gave
        own = slice(0, 3) if rank == 0 else slice(3, 5)
        expected = torch.zeros_like(x)
        expected[own] = 3 * x[own]
        assert torch.equal(found["gradient"], expected)
        assert torch.equal(found["mixed"]["a"], torch.arange(3.0))
        assert found["mixed"]["flag"].tolist() == [True, False, True]
        assert found["mixed"]["id"].tolist() == [0, 1, 2]
        assert torch.equal(found["few"], torch.ones(1, 2))


def test_ranks_agree(folder: Path) -> None:
    first, second = results(folder, "primitives")
    for found in (first, second):
        assert found["summed"][0].tolist() == [3.0, 3.0]
        assert found["summed"][1].tolist() == [5.0, 5.0]
        assert found["summed"][2] is None
        assert found["agreed"] == (10, True, False)
        assert found["off"] == (1, True)
    assert first["entropy"] == second["entropy"]


@pytest.mark.parametrize(("name", "epochs"), [("sharded", 6), ("longer", 9)])
def test_two_processes_end_with_the_model_of_one(name: str, epochs: int, folder: Path) -> None:
    model, history, _ = distributed_run.fit(epochs=epochs)
    ranks = results(folder, name)
    for found in ranks:
        for key, value in model.state_dict().items():
            torch.testing.assert_close(found["model"][key], value, rtol=0, atol=1e-10)
        for record, expected in zip(found["records"], history.records, strict=True):
            assert record == pytest.approx(expected, abs=1e-10)
    assert ranks[0]["records"] == ranks[1]["records"]
    assert all(torch.equal(value, ranks[1]["model"][key]) for key, value in ranks[0]["model"].items())


def test_stages_and_resumed_fits_are_the_same_on_all_ranks(folder: Path) -> None:
    first, second = results(folder, "staged")
    assert {path.name for path in folder.glob("staged*") if path.suffix != ".pt"} == {"staged", "staged.first"}
    for stage in ("first", ""):
        assert first[stage]["records"] == second[stage]["records"]
        for key, value in first[stage]["model"].items():
            assert torch.equal(value, second[stage]["model"][key])


def test_some_slices_have_no_treated_unit(folder: Path) -> None:
    first, second = (found["treated"] for found in results(folder, "sharded"))
    assert 0 in second
    assert 0 not in first


def test_all_ranks_stop_when_the_first_loses_patience(folder: Path) -> None:
    _, history, _ = distributed_run.fit(patience=3, epochs=50)
    assert history.stopped == "patience"
    for found in results(folder, "impatient"):
        assert found["stopped"] == "patience"
        assert len(found["records"]) == len(history)


def test_a_stop_that_one_rank_asks_for_stops_all(folder: Path) -> None:
    for found in results(folder, "stopped"):
        assert found["stopped"] == "callback"
        assert len(found["records"]) == 2


def test_one_process_writes_and_goes_on_from_what_two_have_written(folder: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 10))
    resumed, history, _ = distributed_run.fit(checkpoint=tmp_path / "c", resume=folder / "checkpoint", epochs=11)
    expected, _, _ = distributed_run.fit(epochs=11)
    assert len(history) == 11
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=1e-10)


def test_slices_cover_the_batch_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for world in (1, 2, 3, 7):
        monkeypatch.setattr(distributed, "world_size", lambda world=world: world)
        for size in (0, 1, 2, 5, 7, 20):
            slices = [distributed.bounds(size, rank) for rank in range(world)]
            assert [row for part in slices for row in range(size)[part]] == list(range(size))
            assert max(len(range(size)[part]) for part in slices) == -(-size // world)


def test_tensors_of_different_lengths_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert distributed.shard([torch.arange(5), 3, torch.tensor(2.0)])[0].tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"tensors of one length .* got \[2, 3\]"):
        distributed.shard((torch.zeros(2), torch.zeros(3)))
    with pytest.raises(ValueError, match="must have the 2 rows of this rank's slice; got 3"):
        distributed.gather_batch(torch.zeros(3), 5)
