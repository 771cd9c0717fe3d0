"""``python -m wbm_ext``: the console command."""

from __future__ import annotations

from wbm_ext.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
