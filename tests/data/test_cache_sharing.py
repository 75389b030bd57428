"""A cache folder that real processes share, are killed in, or fill up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data import cache_entry
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.cache_files import CacheError
from medstyle_gan.data.collection import find_collection
from medstyle_gan.errors import UserError

PATTERN = r"(sub-[A-Za-z0-9]+)"
PROCESSES = multiprocessing.get_context("fork")  # the imports are done


@pytest.fixture
def prepare(
    folders: Any, data_settings: Callable[..., DataConfig], tmp_path: Path
) -> Callable[[], CachedCollection]:
    """Prepares the same four scans in the same cache, wherever it is called."""
    config = data_settings(cache={"folder": str(tmp_path / "cache")}, spacing=(3.0, 3.0, None))
    scans = find_collection(str(folders.scans), PATTERN)
    return lambda: prepare_collection(scans, config, "scan")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def files_of(cache: Path) -> list[str]:
    return sorted(
        str(path.relative_to(cache))
        for path in cache.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    )


def test_runs_that_start_together_make_each_entry_once_and_read_the_same(
    prepare: Callable[[], CachedCollection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 3
    start = PROCESSES.Barrier(runs)
    real = cache_entry.prepare_volume_file

    def slow(path: Path, *args: Any) -> Any:
        with (tmp_path / "made.txt").open("a") as file:
            file.write(f"{path.name}\n")
        time.sleep(0.1)  # so that the others are there meanwhile
        return real(path, *args)

    def run(number: int) -> None:
        start.wait(60)
        collection = prepare()
        np.save(tmp_path / f"{number}.npy", [volume.read(7) for volume in collection])

    monkeypatch.setattr(cache_entry, "prepare_volume_file", slow)
    processes = [PROCESSES.Process(target=run, args=(number,)) for number in range(runs)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * runs

    made = (tmp_path / "made.txt").read_text().split()
    assert len(made) == len(set(made)) == 4
    monkeypatch.undo()
    expected = [volume.read(7) for volume in prepare()]
    for number in range(runs):
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}.npy"), expected)
    assert len(files_of(tmp_path / "cache")) == 4 * 3  # array, facts, index: no half file


def test_a_run_killed_amid_an_entry_holds_up_nobody(
    prepare: Callable[[], CachedCollection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cache_entry.write_slices

    def hang(file: Any, slices: np.ndarray) -> None:
        file.write(b"half an array")
        file.flush()
        (tmp_path / "writing").touch()
        time.sleep(600)

    with monkeypatch.context() as patch:
        patch.setattr(cache_entry, "write_slices", hang)
        killed = PROCESSES.Process(target=prepare)
        killed.start()
    wait_for(tmp_path / "writing")
    assert cache_entry.write_slices is real
    waiting = PROCESSES.Process(target=prepare)  # for the entry that the other one makes
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join(60)
    waiting.join(60)

    assert (killed.exitcode, waiting.exitcode) == (-signal.SIGKILL, 0)
    assert len(prepare()) == 4
    halves = [name for name in files_of(tmp_path / "cache") if name.endswith(".part")]
    assert len(halves) == 1  # cleared by a run a day later; no entry has its name


def test_facts_that_cannot_be_written_take_their_array_with_them(
    prepare: Callable[[], CachedCollection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cache_entry.cache_file

    def full(path: Path) -> Any:
        if path.suffix == ".json":
            raise CacheError("full")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(cache_entry, "cache_file", full)
        with pytest.raises(UserError, match="full"):
            prepare()
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert len(prepare()) == 4


FILL = """
import sys
from pathlib import Path
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.cache_files import CacheError
from medstyle_gan.data.collection import find_collection
from medstyle_gan.errors import UserError
cache = Path(sys.argv[2])
config = DataConfig(cache={"folder": str(cache)}, spacing=(3.0, 3.0, None))
scans = find_collection(sys.argv[1], config.subject_pattern)
try:
    prepare_collection(scans, config, "scan")
except UserError as error:
    print(error)
    print("|".join(sorted(p.name for p in cache.rglob("*") if p.is_file())))
    # Arrays with their facts, and nothing half.
    arrays = {p.stem for p in cache.glob("*.npy")}
    facts = {p.stem for p in cache.glob("*.json")}
    print(len(arrays), arrays == facts, len(list(cache.rglob("*.part"))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk of its own")
@pytest.mark.parametrize("kibibytes", [8, 52, 128])  # 52: an array fits, but not its facts
def test_a_disk_that_is_really_full_is_told_and_holds_whole_entries_only(
    folders: Any, tmp_path: Path, repository: Path, kibibytes: int
) -> None:
    """A disk of that size, in a namespace of the test's own; no mock of writing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "-rm", "sh", "-c"]
    script = f'mount -t tmpfs -o size={kibibytes}k none "$0" || exit 99; exec "$@"'
    program = [sys.executable, "-c", FILL, str(folders.scans), str(disk / "cache")]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*mount, script, str(disk), *program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    message, _, counts = done.stdout.strip().splitlines()
    assert "full" in message or "No space left" in message
    assert str(disk / "cache") in message
    assert "data.cache.folder" in message
    entries, whole, halves = counts.split()
    assert (whole, halves) == ("True", "0")
    assert (int(entries) > 0) == (kibibytes == 128)
