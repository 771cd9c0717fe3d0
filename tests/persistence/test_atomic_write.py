"""Writing a file: whole or not at all beside other writers, with its mode, through links, and no trap followed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
import torch

from wbm_ext.persistence import atomic_write, write_document

CONTENTS = [bytes([mark]) * 200_000 for mark in b"abcd"]


def put(path: Path, content: bytes = b"new") -> None:
    atomic_write(path, lambda file: file.write(content))


def test_writers_side_by_side_never_fail_and_readers_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "m"
    put(path, CONTENTS[0])
    failures: list[BaseException] = []
    done = threading.Event()

    def writing(content: bytes) -> None:
        try:
            for _ in range(25):
                put(path, content)
        except BaseException as error:  # the finding
            failures.append(error)

    def reading() -> None:
        while not done.is_set():
            if path.read_bytes() not in CONTENTS:
                failures.append(AssertionError("a reader met a cut file"))
                return

    writers = [threading.Thread(target=writing, args=(content,)) for content in CONTENTS]
    reader = threading.Thread(target=reading)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_the_old_file_stays(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(mode)
    put(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_a_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    put(tmp_path / "m")
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_unfinished_file_is_private_where_the_old_one_is(tmp_path: Path) -> None:
    path, seen = tmp_path / "m", []
    path.write_bytes(b"old")
    path.chmod(0o600)

    def look(file: object) -> None:
        (partial,) = (entry for entry in tmp_path.iterdir() if entry.name != "m")
        seen.append(stat.S_IMODE(partial.stat().st_mode))

    atomic_write(path, look)
    assert seen == [0o600]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_names_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "m", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    put(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "m"
    victim.write_bytes(b"mine")
    for name in (".m.partial", "m.partial", "m.part", "m.tmp"):
        (tmp_path / name).symlink_to(victim)
    put(path)
    assert victim.read_bytes() == b"mine"


def test_a_pipe_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    put(pipe)
    reader.join()
    assert got == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    put(Path(os.devnull))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("m" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    put(path)
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("document", [True, False])
def test_a_full_disk_names_the_file(document: bool) -> None:
    def write() -> None:
        if document:
            write_document("/dev/full", "model", 1, {"tensor": torch.zeros(100_000)})
        else:
            put(Path("/dev/full"), b"x" * 100_000)

    with pytest.raises(OSError, match=r"No space left on device.*/dev/full"):
        write()
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
