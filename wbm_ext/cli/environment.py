"""``wbm info``: versions, build and devices, and a self-test of the solver on each device."""

from __future__ import annotations

import json
import platform
from typing import Annotated, Any

import typer

from wbm_ext.cli import options
from wbm_ext.cli.outcome import command, fail, say


@command
def info(
    as_json: options.Json = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Run the self-test.")] = True,
) -> None:
    """Report versions, build and devices, and test every kernel, backward included; exit code 1 if one is wrong."""
    import torch

    import wbm_ext

    count = torch.cuda.device_count()
    devices = ["cpu", *(torch.cuda.get_device_name(index) for index in range(count))]
    lines: dict[str, Any] = {**wbm_ext.build_info(), "system": f"{platform.system()} {platform.machine()}"}
    report: dict[str, Any] = {**lines, "devices": devices}
    wrong = 0
    if test:
        from wbm_ext.cli.selftest import self_test

        report["self_test"] = {}
        for place in ["cpu", *(f"cuda:{index}" for index in range(count))]:
            checks = self_test(place)
            report["self_test"][place] = [check._asdict() for check in checks]
            wrong += sum(not check.ok for check in checks)
    if as_json:
        typer.echo(json.dumps(report, indent=1))
    else:
        for key, value in {**lines, "devices": ", ".join(devices)}.items():
            say(f"{key}: {value}")
        for place, checks in report.get("self_test", {}).items():
            for check in checks:
                if not check["ok"]:
                    say(f"WRONG on {place}: {check['name']}: {check['found']}")
            seconds, good = sum(check["seconds"] for check in checks), sum(check["ok"] for check in checks)
            say(f"self-test on {place}: {good} of {len(checks)} right in {seconds:.1f} s")
    if wrong:
        fail(f"{wrong} check(s) of the self-test failed: do not trust results of this installation; rebuild it")
