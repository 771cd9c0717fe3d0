"""Writing a comparison to a folder: figures as JSON, drawings as PNG. Running again replaces them whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbm_ext.errors import MissingExtraError


def write_results(result: Mapping[str, Any], folder: Path) -> tuple[list[Path], str | None]:
    """Write ``comparison.json`` and, with matplotlib, ``metrics.png``, ``balance.png``, ``training.png``.

    Each file is written under another name and then renamed, so that an interrupted run leaves the old one
    whole.

    Returns
    -------
    files : list of Path
    note : str or None
        Why there are no drawings, if there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "comparison.json"
    partial = target.with_suffix(".json.part")
    partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, target)
    files = [target]
    from wbm_ext.plots import plot_balance, plot_metrics, plot_training

    try:
        for stem, draw in (("metrics", plot_metrics), ("balance", plot_balance), ("training", plot_training)):
            target = folder / f"{stem}.png"
            partial = folder / f"{stem}.png.part"
            draw(result).savefig(partial, dpi=130, format="png")
            os.replace(partial, target)
            files.append(target)
    except MissingExtraError as error:
        return files, str(error)
    return files, None
