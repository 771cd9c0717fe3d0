"""Finished results: how noisy one is, and what two say of each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from python_benchmarks._harness.records import Record

NOISY = 0.1  # share of noisy measurements from which a whole run is called noisy
BUSY = 0.7  # load average from which times are not to be believed


def noise(result: Record) -> str:
    """What makes the times of a result doubtful: the load before it, and how many measurements are noisy."""
    times = [record["seconds"] for record in result["records"].values() if "seconds" in record]
    wide, machine = sum("noise" in time for time in times), result["machine"]
    remarks = []
    if machine["load"] > BUSY:
        remarks.append(f"load average {machine['load']} on {machine['cores']} cores before the run")
    if times and wide > NOISY * len(times):
        remarks.append(f"{wide} of {len(times)} measurements are noisy")
    return "; ".join(remarks)


def earlier(text: str) -> Record:
    """Argument type of ``--against``: an earlier result, read before any work."""
    try:
        found = json.loads(Path(text).read_text())
        if not isinstance(found["records"], dict):
            raise KeyError("records")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"expected a result's JSON file, got {text}: {error}") from None
    return found


def compare(new: Record, old: Record) -> list[Record]:
    """Records that both results have: seconds of each and old over new (above 1: the new one is faster)."""
    rows = []
    for key, record in new["records"].items():
        before, after = old["records"].get(key, {}).get("seconds"), record.get("seconds")
        if before and after:
            apart = after["q3"] < before["q1"] or after["q1"] > before["q3"]
            ratio = before["median"] / after["median"]
            rows.append({"key": key, "old": before["median"], "new": after["median"], "ratio": ratio, "apart": apart})
    return rows
