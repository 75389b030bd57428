"""The same command in several processes on one machine, each of which does its part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from medstyle_gan.cli import SOME_FAILED
from medstyle_gan.signals import answered

_LEAVE_SECONDS = 60.0


def run_in_processes(command: Sequence[str], count: int) -> int:
    """Run `medstyle COMMAND` once for each of `count` ranks, and wait for all.

    The ranks are told as torchrun tells them, in RANK, LOCAL_RANK and WORLD_SIZE; the cores are
    shared out. When this process is interrupted or ended, so are they.

    Args:
        command: the command and its arguments.
        count: processes.

    Returns:
        their common exit code, or 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, (cores or 1) // count))
    processes = []
    try:
        for rank in range(count):
            variables = {
                "OMP_NUM_THREADS": threads,
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
            }
            processes.append(
                subprocess.Popen([sys.executable, "-m", "medstyle_gan", *command], env=variables)
            )
        codes = [process.wait() for process in processes]
    except BaseException as error:
        # A terminal's Ctrl-C has reached them all; a second one would cut their tidying short.
        told = signal.SIGTERM if not isinstance(error, KeyboardInterrupt) else None
        _end(processes, told)
        raise
    for rank, code in enumerate(codes):
        if code < 0:
            print(
                f"medstyle: process {rank} of {count} was killed by signal {-code}"
                + (" (too little memory?)" if code == -signal.SIGKILL else "")
                + "; start the same command again, what is done is kept",
                file=sys.stderr,
            )
    return common_code(codes)


def common_code(codes: Sequence[int]) -> int:
    """One exit code for several processes: theirs where they agree, else that of some failed."""
    return codes[0] if len(set(codes)) == 1 and codes[0] >= 0 else SOME_FAILED


def _end(processes: Sequence[subprocess.Popen[bytes]], told: signal.Signals | None) -> None:
    for process in processes:
        if told is not None:
            process.send_signal(told)
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVE_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the program as Ctrl-C does, with what is half-written removed."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    with answered([signal.SIGTERM], leave):
        yield
