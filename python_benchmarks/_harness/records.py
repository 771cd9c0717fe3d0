"""Results that survive an interrupt: each record is kept the moment it is measured."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def fingerprint(setting: Record) -> str:
    """Short hash of a run's setting together with the compiled module: records of another build are never reused."""
    from wbm_ext import _native

    module = Path(_native.core.__file__).read_bytes()
    return hashlib.sha256(json.dumps(setting, sort_keys=True).encode() + module).hexdigest()[:16]


def write_json(path: Path, content: Record) -> None:
    """Write a whole file or nothing: into a neighbour first, then renamed. Lists of numbers take one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            text = json.dumps(content, indent=1)  # no string holds a bare line break, so only lists are matched
            file.write(
                re.sub(r"\[\n([^\[\]{}\"]*)\n *\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
            )
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Store:
    """Records by key, written to ``path`` after each; taken up again where setting and compiled module are the same."""

    def __init__(self, path: Path, head: Record, setting: Record) -> None:
        self.path = path
        self.content: Record = head | {"setting": setting, "fingerprint": fingerprint(setting), "records": {}}
        self.resumed = 0
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text())
            if found.get("fingerprint") == self.content["fingerprint"] and not found.get("complete"):
                self.content["records"] = found["records"]
                self.resumed = len(found["records"])

    @property
    def records(self) -> dict[str, Record]:
        return self.content["records"]

    def begin(self, key: str) -> None:
        """Note which task is under way, for whoever watches this process."""
        self.content["running"] = key
        write_json(self.path, self.content)

    def put(self, key: str, record: Record) -> None:
        self.content.pop("running", None)
        self.records[key] = record
        write_json(self.path, self.content)

    def finish(self) -> None:
        """Mark the run as complete: the next one starts anew."""
        self.content["complete"] = True
        write_json(self.path, self.content)


class Journal(Store):
    """A store whose records are lines of a file: each is written once, however many there are.

    The first line holds the fingerprint; a last line that an interrupt cut short is dropped.
    """

    def __init__(self, path: Path, head: Record, setting: Record) -> None:
        self.path = path
        print_ = fingerprint(setting)
        self.content = head | {"setting": setting, "fingerprint": print_, "records": {}}
        lines: list[Record] = []
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
        if lines and lines[0].get("fingerprint") == print_:
            self.content["records"] = {line["key"]: line["record"] for line in lines[1:]}
        self.resumed = len(self.records)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [{"fingerprint": print_}, *({"key": key, "record": record} for key, record in self.records.items())]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def put(self, key: str, record: Record) -> None:
        self.records[key] = record
        with self.path.open("a") as file:
            file.write(json.dumps({"key": key, "record": record}) + "\n")

    def finish(self) -> None:
        """Mark the run as complete: the next one starts anew."""
        self.content["complete"] = True
        self.path.unlink(missing_ok=True)
