"""A summary of an estimate as one HTML file with its plots in it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
pre {{ overflow-x: auto; background: #f6f6f6; padding: 1rem; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<img alt="balance of covariates, overlap of propensities, estimated effects" src="data:image/png;base64,{image}">
<pre>{text}</pre>
</body>
</html>
"""


def write_page(path: Path, title: str, summary: Any, more: Sequence[Any]) -> None:
    """Write the page of an :class:`wbm_ext.ite.EffectSummary` and of what else was found; whole or not at all."""
    from wbm_ext.persistence import atomic_write
    from wbm_ext.plots.effects import plot_effect_summary

    image = io.BytesIO()
    plot_effect_summary(summary).savefig(image, dpi=110, format="png")
    text = "\n".join(map(str, (summary, *(["", *more] if more else []))))
    page = _PAGE.format(
        title=html.escape(title), text=html.escape(text), image=base64.b64encode(image.getvalue()).decode("ascii")
    )
    atomic_write(path, lambda file: file.write(page.encode()))
