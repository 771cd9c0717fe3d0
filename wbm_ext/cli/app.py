"""The command ``wbm``: its verbs, put together. Each lives in the module named after what it does."""

from __future__ import annotations

import typer

from wbm_ext.cli import (
    catalogue,
    checkout,
    comparing,
    environment,
    estimating,
    evaluating,
    exporting,
    fitting,
    predicting,
    splitting,
)

app = typer.Typer(
    name="wbm",
    help="Debiased recommenders and treatment effects by optimal transport. Exit codes: 0 done, 1 a goal missed, "
    "a check failed or a fit diverged, 2 wrong usage or unusable data, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(environment.info)
app.command()(catalogue.systems)
catalogue.data.command()(exporting.export)
app.add_typer(catalogue.data, name="data")
app.command()(splitting.split)
app.command()(fitting.fit)
app.command()(evaluating.evaluate)
app.command()(predicting.predict)
app.command()(predicting.recommend)
app.command()(estimating.effect)
app.command()(comparing.compare)
app.command(context_settings=checkout.PASS_ON)(checkout.bench)
app.command(context_settings=checkout.PASS_ON)(checkout.study)
