"""Publishing: the old file or the whole new one, never a part, never a leftover, and an error that says the cure."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from autocoder_components.assessments.reports.publish import PublishError, publish


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_bytes_and_pieces_arrive_whole(tmp_path: Path) -> None:
    publish(tmp_path / "a", "straße\n")
    publish(tmp_path / "b", b"\x00\xff")
    publish(tmp_path / "c", (b"%d," % number for number in range(3)))
    assert (tmp_path / "a").read_text(encoding="utf-8") == "straße\n"
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "c").read_bytes() == b"0,1,2,"
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_new_file_obeys_the_umask_and_a_replaced_one_keeps_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        publish(tmp_path / "new", "x")
        publish(tmp_path / "old", "x")
        (tmp_path / "old").chmod(0o604)
        publish(tmp_path / "old", "y")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o604


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    publish(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_an_interruption_while_writing_leaves_everything_as_it_was(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half a rep"
        raise interruption

    (tmp_path / "report").write_text("old")
    with pytest.raises(interruption):
        publish(tmp_path / "report", pieces())
    assert (tmp_path / "report").read_text() == "old"
    assert names(tmp_path) == ["report"]


@pytest.mark.anyio
async def test_cancellation_of_the_caller_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:

        def pieces() -> Iterator[bytes]:
            yield b"one "
            anyio.from_thread.run_sync(scope.cancel)
            yield b"two"

        await anyio.to_thread.run_sync(publish, tmp_path / "report", pieces())
    assert scope.cancel_called
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report").read_bytes() == b"one two"


def test_a_signal_while_writing_leaves_no_file(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from autocoder_components.assessments.reports.publish import publish
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def pieces():
            yield b"half"
            os.kill(os.getpid(), signal.SIGINT)
            yield b"never"
        publish({str(tmp_path / "report")!r}, pieces())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGINT
    assert names(tmp_path) == []


def test_a_file_size_limit_leaves_no_file_and_names_the_cure(tmp_path: Path) -> None:
    program = f"""
        import resource, signal
        from autocoder_components.assessments.reports.publish import PublishError, publish
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))
        try:
            publish({str(tmp_path / "report")!r}, b"x" * 100_000)
        except PublishError as error:
            print(error)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert str(tmp_path / "report") in ended.stdout
    assert "File too large; raise the limit" in ended.stdout
    assert names(tmp_path) == []


READ_ONLY = 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 64 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount(mounted)
    yield mounted
    assert ctypes.CDLL(None).umount(bytes(mounted)) == 0


def mount(folder: Path, flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, b"size=64k") != 0:
        pytest.skip(f"cannot mount a small filesystem here: {os.strerror(ctypes.get_errno())}")


def test_a_full_disk_leaves_the_old_file_no_other_and_names_the_cure(disk: Path) -> None:
    publish(disk / "report", "old")
    with pytest.raises(PublishError, match="No space left on device; free some space") as caught:
        publish(disk / "report", b"x" * 200_000)
    assert str(disk / "report") in str(caught.value)
    assert (disk / "report").read_text() == "old"
    assert names(disk) == ["report"]


def test_a_missing_folder_a_folder_a_device_and_a_long_name_are_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, says in (
        (tmp_path / "none" / "report", r"No such file or directory; make the folder first"),
        (tmp_path, r"it is a folder; name a file in it"),
        (Path("/dev/null"), r"it is a device or a pipe; name a regular file"),
        (tmp_path / "file" / "report", r"Not a directory; a part of the path is a file"),
        (tmp_path / ("x" * 300), r"name too long; choose a shorter name"),
    ):
        with pytest.raises(PublishError, match=says):
            publish(path, "x")
    assert names(tmp_path) == ["file"]


def test_a_disk_that_cannot_be_written_is_refused_with_the_cure(disk: Path) -> None:
    remount = 32
    mount(disk, READ_ONLY | remount)
    with pytest.raises(PublishError, match="Read-only file system; choose a path on a disk that can be written"):
        publish(disk / "report", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_others_is_refused_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PublishError, match="make the folder writable"):
        publish(tmp_path / "report", "x")
