"""The console command, end to end on a small generated data set, and its errors in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wbm_ext import datasets
from wbm_ext.cli import main
from wbm_ext.datasets import make_ratings


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets,
        "load",
        lambda name, root=None, **options: make_ratings(40, 50, density=0.2, test_per_user=10, **options),
    )


def test_compare_prints_tables_and_writes_figures(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "results"
    command = ["compare", "--seeds", "2", "--epochs", "2", "--out", str(out)]
    assert main(command) == 0
    captured = capsys.readouterr()
    printed = " ".join(captured.out.split())
    for words in ("AUC", "NDCG@5", "F1@5", "AUC unseen", "WBM", "ESS", "validation: biased", "ips-wbm", "licence"):
        assert words in printed
    assert "In this run ips-wbm" in printed
    assert "naive" in captured.err  # progress bars
    pictures = {"metrics.png", "balance.png", "training.png"}
    names = {"comparison.json", "run.toml"} | pictures
    assert {path.name for path in out.iterdir()} == names
    text = (out / "comparison.json").read_text()
    assert str(tmp_path) not in text
    stored = json.loads(text)
    assert len(stored["systems"]["naive"]["runs"]) == 2
    for name in pictures:
        assert (out / name).read_bytes().startswith(b"\x89PNG")

    assert main([*command, "--no-progress", "--systems", "naive"]) == 0  # again, into the same folder
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "In this run" not in captured.out
    assert {path.name for path in out.iterdir()} == names
    assert set(json.loads((out / "comparison.json").read_text())["systems"]) == {"naive"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "cout"], "did you mean 'coat'"),
        (["--data", "ihdp"], "compare takes ratings: coat, yahoo-r3, kuairec, synthetic, niche-items"),
        (["--data", "coat", "--root", "no-such-folder"], "no-such-folder"),
        (["--systems", "naive,ipz"], "did you mean 'ips'"),
        (["--seeds", "0"], "seeds must be an integer of at least 1; got 0"),
        (["--epochs", "0"], "epochs must be an integer of at least 1; got 0"),
    ],
)
def test_errors_are_one_sentence_and_code_2(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, "--out", str(tmp_path / "out"), "--no-progress"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_refused_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    assert main(["compare", "--out", str(target)]) == 2
    assert "--out must be a folder" in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_unknown_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compar"]) == 2
    assert main(["compare", "--sedes", "3"]) == 2
    assert "--se" in capsys.readouterr().err


def test_module_runs_and_figures_leave_no_global_state() -> None:
    code = (
        "import sys, wbm_ext.plots, wbm_ext.cli; "
        "assert 'sklearn' not in sys.modules and 'matplotlib' not in sys.modules and 'typer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-m", "wbm_ext", "--help"], check=True, capture_output=True, text=True, timeout=120
    )
    assert "compare" in done.stdout
    assert "info" in done.stdout
