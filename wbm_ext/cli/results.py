"""Writing a comparison to a folder: figures as JSON, drawings as PNG. Running again replaces them whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wbm_ext.errors import MissingExtraError


def write_results(result: Mapping[str, Any], folder: Path) -> tuple[list[Path], str | None]:
    """Write ``comparison.json`` and, with matplotlib, ``metrics.png``, ``balance.png``, ``training.png``.

    Each file appears whole or not at all.

    Returns
    -------
    files : list of Path
    note : str or None
        Why there are no drawings, if there are none.
    """
    from wbm_ext.persistence import atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    files = [folder / "comparison.json"]
    atomic_write(files[0], lambda file: file.write(text.encode()))
    from wbm_ext.plots import plot_balance, plot_metrics, plot_training

    try:
        for stem, draw in (("metrics", plot_metrics), ("balance", plot_balance), ("training", plot_training)):
            figure = draw(result)
            atomic_write(folder / f"{stem}.png", partial(figure.savefig, dpi=130, format="png"))
            files.append(folder / f"{stem}.png")
    except MissingExtraError as error:
        return files, str(error)
    return files, None
