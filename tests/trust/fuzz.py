"""Fuzz the readers and the op's argument checks for as long as you like; findings end it with the draw that caused them.

    python tests/trust/fuzz.py                                  # all targets, a minute each
    python tests/trust/fuzz.py --seconds 600 coat arguments     # some of them

Draws are random, other ones each time. A crash of the process (the op is compiled code) shows as such; the draw before
it is in the file that --trace names.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from pathlib import Path

from hypothesis import Phase, given, settings

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from targets import TARGETS  # noqa: E402
from test_argument_fuzz import BOUNDED  # noqa: E402


def fuzz(name: str, seconds: float, trace: Path | None) -> collections.Counter[str]:
    """Draw and check until the time is over; return how many draws were read, solved and refused."""
    target, seen, end = TARGETS[name], collections.Counter(), time.monotonic() + seconds

    @settings(max_examples=50, phases=[Phase.generate, Phase.shrink], **BOUNDED)
    @given(target.draws)
    def check(draw):
        if trace is not None:
            trace.write_text(f"{name}: {draw!r}\n")
        seen[target.check(draw)] += 1

    while time.monotonic() < end:
        check()
    return seen


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 1 where a target has a finding."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    line.add_argument("--seconds", type=float, default=60.0, help="for each target")
    line.add_argument("--trace", type=Path, help="file that holds the last draw")
    options = line.parse_args(arguments)
    found = 0
    for name in options.targets or TARGETS:
        try:
            seen = fuzz(name, options.seconds, options.trace)
        except Exception as error:
            found += 1
            notes = "\n".join(getattr(error, "__notes__", []))
            print(f"{name}: FOUND {type(error).__name__}: {error}\n{notes}", flush=True)
        else:
            print(f"{name}: {sum(seen.values())} draws, {dict(seen)}", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
