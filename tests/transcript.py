"""What a page shows is what happens: its examples, and its commands with their outputs, run by this interpreter.

    python tests/transcript.py README.md

A block fenced as ``console`` holds commands after ``$``, each followed by what it prints; ``...`` stands for anything.
All commands of a page run one after the other in one new folder, with the programs of this environment first. Needs
nothing but the standard library, so that a clean environment can run it. Exit code 1 where an output differs.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(text: str) -> list[tuple[str, str]]:
    """Return (command, shown output) of all console blocks."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.S | re.M):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def replay(text: str, folder: Path) -> list[str]:
    """Run the commands of a page in ``folder``; return a text for each that failed or printed something else."""
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {**os.environ, "PATH": os.pathsep.join(filter(None, programs)), "COLUMNS": "120"}
    wrong = []
    for command, shown in commands(text):
        done = subprocess.run(
            command, shell=True, executable="/bin/sh", cwd=folder, env=environment, text=True, capture_output=True
        )
        if done.returncode:
            wrong.append(f"$ {command}\nended with {done.returncode}: {done.stderr.strip()[-500:]}")
        elif not doctest.OutputChecker().check_output(shown, done.stdout, CHECK):
            wrong.append(f"$ {command}\nshown:\n{shown}printed:\n{done.stdout}")
    return wrong


def main(pages: list[str]) -> int:
    """Check pages; return the exit code."""
    failures = 0
    for page in map(Path, pages):
        text = page.read_text(encoding="utf-8")
        examples = doctest.testfile(str(page.resolve()), module_relative=False)
        with tempfile.TemporaryDirectory() as folder:
            wrong = replay(text, Path(folder))
        print(*wrong, sep="\n\n", end="\n" if wrong else "")
        counts = f"{examples.attempted} examples, {len(commands(text))} commands"
        failures += examples.failed + len(wrong)
        print(f"{page.name}: {counts}, {examples.failed + len(wrong)} with another outcome than shown")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
