"""How the processes of a training come together: started by us, by torchrun or by srun."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities import rank_zero_only

from medstyle_gan.config import Config, dump_config
from medstyle_gan.errors import UserError
from medstyle_gan.training.processes import Process, joined

# A step, with a validation or a checkpoint of the first process in it, takes less than this.
_STEP_TIMEOUT = timedelta(minutes=30)
# The others wait this long while the first process of a machine prepares a large collection.
# A process that has died is noticed at once: its connection is closed.
_PREPARATION_TIMEOUT = timedelta(days=2)
_ARRIVAL_SECONDS = 600.0
_LEAVE_SECONDS = 60.0
_GRACE_SECONDS = 30.0
_POLL_SECONDS = 0.1
# Tells a process that `_start_others` has started it.
_STARTED_BY_US = "MEDSTYLE_PROCESS"
_DOCS = "docs/many_devices.md"


@dataclass(frozen=True)
class Launch:
    """What Lightning and the training need to know of the processes.

    Attributes:
        process: this one.
        environment: where Lightning reads the same.
    """

    process: Process
    environment: ClusterEnvironment


@contextmanager
def processes_of(config: Config, out: Path, resume: bool) -> Iterator[Launch]:
    """Bring the processes together, and part from them at the end.

    Started by torchrun or srun, the process meets the others. Otherwise it starts
    `training.devices` - 1 more, which run `medstyle train` with the same config: so it
    works from the command line, from a script and from a notebook alike.

    Args:
        config: all settings; `training` says how many there are.
        out: the run folder.
        resume: whether the run goes on.

    Raises:
        UserError: the processes are not as many as the config says, or there are more than
            the machine can take, or one of them was lost.
    """
    environment = _environment(config)
    world_size = config.training.world_size
    if world_size == 1:
        with joined(Process(), None):
            yield Launch(Process(), environment)
        return
    refuse_too_many(config, bound=not isinstance(environment, LightningEnvironment))
    rank_before = getattr(rank_zero_only, "rank", 0)
    with _others(config, out, resume, environment) as others:
        process = Process(_rank(environment, config), environment.local_rank(), world_size)
        setattr(rank_zero_only, "rank", process.rank)  # noqa: B010 (mypy knows no such attribute)
        group = _meet(config, process, environment, others)
        try:
            with joined(process, group), others.losses_told(process):
                yield Launch(process, environment)
        finally:
            setattr(rank_zero_only, "rank", rank_before)  # noqa: B010
            with suppress(RuntimeError):  # of a group whose other side has gone
                dist.destroy_process_group()


def refuse_too_many(config: Config, bound: bool = False) -> None:
    """Refuse more processes than logical cores, or more than GPUs.

    Args:
        config: its `training` section is used.
        bound: whether a launcher may have bound this process to its own part of the cores.

    Raises:
        UserError: there are.
    """
    devices = config.training.devices
    if config.training.accelerator != "cpu" and torch.cuda.is_available():
        kind, there = "GPU(s)", torch.cuda.device_count()
    else:
        kind = "logical core(s)" if bound else "logical core(s) for this process"
        there = os.cpu_count() or 1 if bound else logical_cores()
    if devices > there:
        raise UserError(
            f"training.devices is {devices}, but this machine has {there} {kind}; "
            f"set training.devices (--devices) to {there} or less"
        )


def started_together() -> bool:
    """Whether torchrun or srun started this process, and may have started others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ or _is_srun(os.environ)


def logical_cores() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ----------------------------------------------------------------------- who started us


def _environment(config: Config) -> ClusterEnvironment:
    """What started this process; never Lightning's guess, which takes any SLURM job for srun."""
    training, started = config.training, dict(os.environ)
    if _STARTED_BY_US in started:
        return LightningEnvironment()
    if "TORCHELASTIC_RUN_ID" in started:
        _refuse_other_count("torchrun", int(started["WORLD_SIZE"]), config)
        if training.world_size > 1:
            return TorchElasticEnvironment()
    elif _is_srun(started):
        _refuse_other_count("srun", int(started["SLURM_NTASKS"]), config)
        if training.world_size > 1:
            try:
                slurm = SLURMEnvironment(auto_requeue=False)  # we save our own checkpoint
                slurm.validate_settings(training.devices, training.nodes)
            except (RuntimeError, ValueError) as error:
                raise UserError(f"srun: {error} (see {_DOCS})") from error
            return slurm
    elif training.nodes > 1:
        raise UserError(
            f"training.nodes is {training.nodes}, but this process was started by neither "
            f"torchrun nor srun, which start a training on several machines; see {_DOCS}"
        )
    return LightningEnvironment()


def _is_srun(variables: Mapping[str, str]) -> bool:
    # A batch script has SLURM's variables too, but no step's; `srun --pty bash` has a step's.
    interactive = variables.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_STEP_ID" in variables and "SLURM_NTASKS" in variables and not interactive


def _refuse_other_count(launcher: str, started: int, config: Config) -> None:
    training = config.training
    if started != training.world_size:
        raise UserError(
            f"{launcher} started {started} process(es), but training.devices x training.nodes is "
            f"{training.devices} x {training.nodes}; make both the same (--devices, --nodes)"
        )


def _rank(environment: ClusterEnvironment, config: Config) -> int:
    if isinstance(environment, LightningEnvironment):  # which learns its rank from a trainer
        return environment.local_rank()
    return environment.global_rank()


# -------------------------------------------------------------------------- coming together


def _meet(
    config: Config, process: Process, environment: ClusterEnvironment, others: _Others
) -> object:
    """Connect all processes; Lightning finds them connected. Returns a group of gloo."""
    on_gpu = config.training.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", process.local_rank) if on_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    store = others.store
    if store is None:
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=process.rank,
        world_size=process.world_size,
        timeout=_STEP_TIMEOUT,
        device_id=device,
    )
    return dist.new_group(backend="gloo", timeout=_PREPARATION_TIMEOUT)


class _Others:
    """The processes that this one has started, if any, and the store where all meet."""

    def __init__(self, store: dist.Store | None) -> None:
        self.store = store
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self._leaving = threading.Event()

    def wait_for_arrival(self, world_size: int) -> None:
        """Wait until all have come; a process that ends before is told of."""
        assert self.store is not None
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while self.store.add("arrived", 0) < world_size - 1:
            if (lost := self.first_lost()) or time.monotonic() > deadline:
                raise UserError(lost or f"not all of {world_size} processes have come; try again")
            time.sleep(_POLL_SECONDS)

    def first_lost(self) -> str | None:
        """What to say of a process that has ended with an error; None where none has."""
        for rank, child in self.children.items():
            if child.poll():
                return f"process {rank} of the training has ended with code {child.returncode}"
        return None

    @contextmanager
    def losses_told(self, process: Process) -> Iterator[None]:
        """Turn what the backends raise when another process has died into one message."""
        watch = threading.Thread(target=self._watch, daemon=True)
        if self.children:
            watch.start()
        try:
            yield
        except RuntimeError as error:
            if not _is_lost_connection(error):
                raise
            time.sleep(1.0)  # for a child's exit code to arrive
            lost = self.first_lost() or "another process of the training has ended"
            raise UserError(
                f"{lost} (see its own message, or the system's log for one that was killed); "
                f"process {process.rank} stops too. Go on from the last checkpoint with --resume"
            ) from error
        finally:
            self._leaving.set()

    def _watch(self) -> None:
        """End this process if a lost one leaves it waiting in a call that never returns."""
        while not self._leaving.wait(1.0):
            lost = self.first_lost()
            if lost and not self._leaving.wait(_GRACE_SECONDS):
                text = f"medstyle: error: {lost}; this one waits for it in vain and stops\n"
                os.write(sys.stderr.fileno(), text.encode())
                os._exit(1)

    def leave(self) -> None:
        """Wait for the others' end, and end those that do not."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        for child in self.children.values():
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _is_lost_connection(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return "gloo" in text or "connection closed by peer" in text or "connection reset" in text


@contextmanager
def _others(
    config: Config, out: Path, resume: bool, environment: ClusterEnvironment
) -> Iterator[_Others]:
    """Start the other processes, where nobody else did."""
    if not isinstance(environment, LightningEnvironment):
        yield _Others(None)
        return
    world_size = config.training.world_size
    address = os.environ.get(_STARTED_BY_US)
    if address is not None:
        host, port = address.rsplit(":", 1)
        store = dist.TCPStore(host, int(port), is_master=False, wait_for_workers=False)
        store.add("arrived", 1)
        yield _Others(store)
        return
    # The system gives a free port, so that nobody can take it in between.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    others = _Others(store)
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(world_size),
    }
    with tempfile.TemporaryDirectory(prefix="medstyle_") as folder, _environ(variables):
        settings = Path(folder) / "config.yaml"
        settings.write_text(dump_config(config))
        try:
            for rank in range(1, world_size):
                others.children[rank] = _start(rank, store.port, settings, out, resume, config)
            others.wait_for_arrival(world_size)
            yield others
        except BaseException:
            # They hear of it by their connection to this process, unless they have none yet.
            if store.add("arrived", 0) < world_size - 1:
                for child in others.children.values():
                    child.kill()
            raise
        finally:
            others.leave()


def _start(
    rank: int, port: int, settings: Path, out: Path, resume: bool, config: Config
) -> subprocess.Popen[bytes]:
    """Another process of this training on this machine."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "OMP_NUM_THREADS": str(max(1, logical_cores() // config.training.devices)),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "LOCAL_RANK": str(rank),
        _STARTED_BY_US: f"127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "medstyle_gan", "train", "--config", str(settings)]
    command += ["-o", str(out), *(["--resume"] if resume else [])]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


@contextmanager
def _environ(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
