"""The console command: ``wbm``, or ``python -m wbm_ext``."""

from __future__ import annotations

from wbm_ext.cli.main import main

__all__ = ["main"]
