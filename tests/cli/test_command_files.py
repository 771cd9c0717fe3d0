"""No command loses a file under another, and what cannot be written is known before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

COLUMNS = ("--user", "u", "--item", "i", "--rating", "r")
FIT = ("fit", "train.csv", "-s", "naive", *COLUMNS, "--no-progress", "-p", "epochs=1")
UNITS = ("--treatment", "t", "--outcome", "y", "--leave-out", "mu0,mu1,id", "--no-progress")


@pytest.fixture
def model(wbm, ratings) -> Path:
    assert wbm(*FIT, "--out", "m.pt").exit_code == 0
    return Path("m.pt")


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*FIT, "--out", "x.toml"), "--out x.toml and the run file x.toml are one file"),
        ((*FIT, "--out", "train.csv"), "--out train.csv would replace the table train.csv, which is read"),
        ((*FIT, "--out", "link.csv"), "--out link.csv would replace the table train.csv, which is read"),
        ((*FIT, "--out", "hard.csv"), "--out hard.csv would replace the table train.csv, which is read"),
        ((*FIT, "--log", "train.csv"), "--log train.csv would replace the table"),
        ((*FIT, "--checkpoint", "./sub/../train.csv"), "would replace the table"),
        ((*FIT, "--out", "a.pt", "--log", "a.pt"), "--out a.pt and --log a.pt are one file"),
        ((*FIT, "--out", "a.pt", "--log", "a.toml"), "the run file a.toml and --log a.toml are one file"),
        ((*FIT, "--checkpoint", "c", "--log", "c"), "--checkpoint c and --log c are one file"),
        ((*FIT, "--checkpoint", "c", "--log", "c.propensity"), "c.propensity"),
        ((*FIT, "--out", "notes.pt"), "comes with the run file notes.toml, but that is no run file of this command"),
        (("predict", "test.csv", "-m", "m.pt", "--out", "m.csv"), "that is the run file of a 'wbm fit'"),
        (("predict", "test.csv", "-m", "m.pt", "--out", "test.csv"), "would replace the table test.csv"),
        (("recommend", "-m", "m.pt", "-u", "1", "--out", "m.csv"), "that is the run file of a 'wbm fit'"),
        (("effect", "units.csv", "-s", "ols", *UNITS, "--out", "units.csv"), "would replace the table units.csv"),
        ((*FIT, "--out", "none/m.pt"), "--out none/m.pt cannot be written: the folder none does not exist"),
        ((*FIT, "--out", "sub"), "--out sub cannot be written: it is a folder"),
        ((*FIT, "--log", "none/log"), "--log none/log cannot be written"),
        ((*FIT, "--checkpoint", "sub"), "--checkpoint sub cannot be written"),
        (("predict", "test.csv", "-m", "m.pt", "--out", "none/p.csv"), "--out none/p.csv cannot be written"),
        (("data", "export", "synthetic", "--out", "train.csv"), "--out must be a folder"),
    ],
)
def test_outputs_are_checked_against_inputs_and_each_other(wbm, model, units, words, message) -> None:
    Path("sub").mkdir()
    Path("link.csv").symlink_to("train.csv")
    os.link("train.csv", "hard.csv")
    Path("notes.toml").write_text("mine = true\n")
    before = contents()
    done = wbm(*words)
    assert (done.exit_code, len(done.stderr.strip().splitlines())) == (2, 1), done.output
    assert message in done.stderr
    assert contents() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_known_first(wbm, ratings) -> None:
    Path("shut").mkdir(mode=0o500)
    assert "--out shut/m.pt cannot be written: the folder" in wbm(*FIT, "--out", "shut/m.pt").stderr


def test_a_run_may_be_repeated_over_its_own_files(wbm, model) -> None:
    assert wbm("fit", "--config", "m.toml").exit_code == 0
    assert wbm(*FIT, "--out", "m.pt").exit_code == 0
    assert wbm("predict", "test.csv", "-m", "m.pt", "--out", "p.csv").exit_code == 0
    before = Path("p.csv").read_bytes()
    assert wbm("predict", "--config", "p.toml").exit_code == 0
    assert Path("p.csv").read_bytes() == before


def test_the_library_refuses_one_file_for_two_things(ratings, tmp_path) -> None:
    from wbm_ext.datasets import read_ratings
    from wbm_ext.recommender import create

    data = read_ratings(ratings, user="u", item="i", rating="r")
    with pytest.raises(ValueError, match="checkpoint and log must be different files"):
        create("naive", epochs=1).fit(data, checkpoint=tmp_path / "c", log=tmp_path / "." / "c")
