"""Trainings in processes of their own that can be killed, without the cost of their imports.

Run as a program it imports everything once, then starts a training in a fork of itself for each
line of JSON on its input, and answers with a line when that has ended. It computes nothing
itself, so that its forks begin as a fresh program would.

A training is killed by a real SIGKILL: from outside at any instant, some time after a number
of its steps; or by itself, just before an operation on a file.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal


@dataclass(frozen=True)
class Outside:
    """Killed from outside: `delay` seconds after `steps` steps have begun."""

    steps: int
    delay: float


@dataclass(frozen=True)
class Inside:
    """Killed before an operation on a file, the `count`-th whose paths match.

    `event` is Python's audit event of the operation, or `half` in the midst of writing.
    """

    event: str
    pattern: str = ""
    count: int = 1


class ForkedTrainings:
    """The program, as tests use it; a context manager."""

    def __enter__(self) -> ForkedTrainings:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.training.forked_trainings"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.wait(timeout=60)

    def train(
        self,
        config: Path,
        out: Path,
        resume: bool | Literal["if_started"] = False,
        kill: Outside | Inside | None = None,
        processes: int = 1,
    ) -> tuple[bool, list[str]]:
        """Train until the end or until killed, with as many processes as the config says.

        Returns:
            whether it was killed, and the lines that it announced.
        """
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        order: dict[str, Any] = {"config": str(config), "out": str(out), "resume": resume}
        order["processes"] = processes
        if kill is not None:
            order["inside" if isinstance(kill, Inside) else "outside"] = asdict(kill)
        print(json.dumps(order), file=self._program.stdin, flush=True)
        answer = json.loads(self._program.stdout.readline())
        assert answer["status"] in (0, -signal.SIGKILL), "\n".join(answer["lines"])
        return answer["status"] == -signal.SIGKILL, answer["lines"]


def main() -> None:
    """Serve the orders that come in."""
    import torch

    from medstyle_gan.methods import CycleGAN
    from medstyle_gan.training import train  # noqa: F401

    torch.set_num_threads(1)
    step = CycleGAN.training_step
    telling: list[IO[bytes]] = []

    def told_step(self: CycleGAN, batch: dict[str, Any], index: int) -> None:
        telling[0].write(b"s")
        step(self, batch, index)

    CycleGAN.training_step = told_step  # type: ignore[method-assign]
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        lines_reading, lines_writing = os.pipe()
        port, children = _free_port(), []
        for rank in range(order["processes"]):
            child = os.fork()
            if child == 0:
                os.close(reading)
                os.close(lines_reading)
                telling.append(os.fdopen(writing, "wb", buffering=0))
                _join(rank, order["processes"], port)
                os._exit(_train(order, os.fdopen(lines_writing, "w")))
            children.append(child)
        os.close(writing)
        os.close(lines_writing)
        if "outside" in order:
            for _ in range(order["outside"]["steps"] * len(children)):
                os.read(reading, 1)
            time.sleep(order["outside"]["delay"])
            for child in children:
                os.kill(child, signal.SIGKILL)
        with os.fdopen(lines_reading) as lines:
            told = lines.read().splitlines()
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(reading)
        answer = {"status": next(filter(None, statuses), 0), "lines": told}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _join(rank: int, processes: int, port: int) -> None:
    """Stands where torchrun would have started this process."""
    if processes > 1:
        os.environ |= {
            "TORCHELASTIC_RUN_ID": "test",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train(order: dict[str, Any], lines: IO[str]) -> int:
    from medstyle_gan.config import load_config
    from medstyle_gan.training import train

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if "inside" in order:
        _kill_myself(Inside(**order["inside"]))
    try:
        config = load_config(Path(order["config"]))
        train(
            config,
            order["out"],
            resume=order["resume"],
            announce=lambda line: print(line, file=lines, flush=True),
        )
    except BaseException:
        print(traceback.format_exc(), file=lines, flush=True)
        return 1
    return 0


def _kill_myself(kill: Inside) -> None:
    import torch

    left = [kill.count]
    if kill.event == "half":
        save = torch.save

        def half_save(state: Any, file: IO[bytes]) -> None:
            left[0] -= 1
            if left[0]:
                save(state, file)
                return
            whole = io.BytesIO()
            save(state, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = half_save  # type: ignore[assignment]
        return

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event != kill.event:
            return
        paths = [os.fspath(a) for a in arguments if isinstance(a, str | os.PathLike)]
        if re.search(kill.pattern, " to ".join(paths)):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    main()
