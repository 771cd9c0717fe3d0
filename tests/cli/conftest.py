"""Small tables, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner, Result

from wbm_ext.datasets import make_ratings, make_treatments


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def wbm() -> Callable[..., Result]:
    """Run ``wbm`` with the words of a command line; an unforeseen exception is raised, not swallowed."""
    from wbm_ext.cli.app import app

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="wbm", catch_exceptions=False)

    return run


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """``train.csv`` and ``test.csv`` with the columns u, i, r."""
    data = make_ratings(40, 50, density=0.2, test_per_user=10)
    for name, part in (("train", data.train), ("test", data.test)):
        frame = pandas.DataFrame({"u": part.users, "i": part.items, "r": part.ratings})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False)
    return tmp_path / "train.csv"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """``units.csv``: covariates, a label, an id, treatment t, outcome y and the truth."""
    data = make_treatments(240, random_state=0)
    frame = data.frame()
    frame["region"] = ["north", "south", "west"] * 80
    frame["id"], frame["t"], frame["y"] = range(240), data.treatment, data.y
    frame["mu0"], frame["mu1"] = data.mu0, data.mu1
    frame.to_csv(tmp_path / "units.csv", index=False)
    frame.to_parquet(tmp_path / "units.parquet", index=False)
    return tmp_path / "units.csv"
