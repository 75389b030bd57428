"""How processes come together: by us, torchrun and srun, and what is refused before they do."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from medstyle_gan.cli.train import add_arguments
from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.training import launching
from medstyle_gan.training.processes import is_first_process, this_process
from tests.end_to_end.tiny import TINY

REPOSITORY = Path(__file__).parents[2]
TWO = ["training.accelerator=cpu", "training.precision=fp32"]
FILES = [".lock", "checkpoints", "config.yaml", "metrics.csv", "model", "run.yaml", "samples"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=2, seed=0, shape=(40, 40, 8)
    )


def start(
    command: list[str], cwd: Path, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment | dict(variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=400)
    finally:
        process.kill()
    return process.returncode, out, err


def arguments(folders: PhantomFolders, out: str, *more: str) -> list[str]:
    collections = ["--scans", str(folders.scans), "--style", str(folders.style)]
    return ["train", *collections, "-o", out, *TINY, *TWO, *more]


needs_two_cores = pytest.mark.skipif(
    launching.logical_cores() < 2, reason="two processes need two logical cores"
)


@needs_two_cores
def test_the_command_starts_the_second_process_itself(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    wandb = ["--wandb", "offline"]
    command = [sys.executable, "-m", "medstyle_gan"]
    command += arguments(folders, "run", "--devices", "2", *wandb)
    code, out, err = finish(start(command, tmp_path))
    assert code == 0, err
    assert out.splitlines()[0] == "model: run/model"
    assert len(out.splitlines()) == 2
    assert err.count("batch 1 each on 2 processes (2 together; learning rates as configured") == 1
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        *FILES,
        "wandb",
        "wandb_run.json",
    ]
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


@needs_two_cores
def test_a_script_gets_two_processes_without_being_run_twice(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    config = [f"data.scans={folders.scans}", f"data.style={folders.style}", *TINY, *TWO]
    (tmp_path / "script.py").write_text(
        "import os, medstyle_gan\n"
        "from medstyle_gan.config import load_config\n"
        "print('once')\n"
        f"config = load_config(None, {[*config, 'training.devices=2']!r})\n"
        "before = dict(os.environ)\n"
        "print(medstyle_gan.train(config, 'run'))\n"
        "changed = {k for k in before.keys() | os.environ.keys()\n"
        "           if before.get(k) != os.environ.get(k)}\n"
        "print(sorted(changed & {'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE'}))\n"
    )
    # As in a notebook: without a file that could be run again.
    command = [sys.executable, "-i", "-c", "exec(open('script.py').read())"]
    process = start(command, tmp_path)
    code, out, err = finish(process)
    assert code == 0, err
    assert out.splitlines() == ["once", "run", "[]"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FILES


@needs_two_cores
def test_torchrun_starts_both(folders: PhantomFolders, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "-m", "medstyle_gan"]
    command += arguments(folders, "run", "--devices", "2")
    code, out, err = finish(start(command, tmp_path))
    assert code == 0, err
    assert out.count("model: run/model") == 1
    assert err.count("each on 2 processes (2 together") == 1
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FILES


@needs_two_cores
def test_torchrun_on_two_machines(folders: PhantomFolders, tmp_path: Path) -> None:
    """Both are this one; the command is that of docs/many_devices.md."""
    port = str(20000 + os.getpid() % 20000)
    processes = []
    for node in ("0", "1"):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        torchrun += ["--node-rank", node, "--nproc-per-node", "1"]
        torchrun += ["--master-addr", "127.0.0.1", "--master-port", port, "-m", "medstyle_gan"]
        command = [*torchrun, *arguments(folders, "run", "--devices", "1", "--nodes", "2")]
        processes.append(start(command, tmp_path))
    (code, out, err), (other_code, other_out, _) = map(finish, processes)
    assert (code, other_code) == (0, 0), err
    assert out.startswith("model: run/model")
    assert other_out == ""
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FILES


def test_commands_of_the_documentation_are_right(repository: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = (repository / "docs" / "many_devices.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    shell = "".join(block for language, block in blocks if not language)
    lines = shell.replace("\\\n", " ").splitlines()
    commands = [line for line in lines if re.search(r"medstyle(_gan)? train ", line)]
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command.replace("$SLURM_NTASKS_PER_NODE", "4"))
        words = [word.replace("$SLURM_NNODES", "2") for word in words]
        args = parser.parse_intermixed_args(words[words.index("train") + 1 :])
        assert args.out == "RUN"
        count = {
            name: int(words[words.index(name) + 1])
            for name in ("--nproc-per-node", "--nnodes")
            if name in words
        }
        assert count.get("--nproc-per-node", args.devices) == args.devices
        assert count.get("--nnodes", args.nodes) == args.nodes


@needs_two_cores
def test_srun_starts_both_as_two_nodes(folders: PhantomFolders, tmp_path: Path) -> None:
    """With the variables that srun sets, on one machine."""
    port = str(20000 + os.getpid() % 20000)
    command = [sys.executable, "-m", "medstyle_gan"]
    command += arguments(folders, "run", "--nodes", "2")
    processes = [
        start(command, tmp_path, slurm(rank, nodes=2) | {"MASTER_PORT": port}) for rank in (0, 1)
    ]
    (code, out, err), (other_code, other_out, other_err) = map(finish, processes)
    assert (code, other_code) == (0, 0), err + other_err
    assert "each on 2 processes (2 together" in err
    assert out.startswith("model: run/model")
    assert other_out == ""
    assert "processes" not in other_err
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == FILES


def slurm(rank: int, nodes: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "medstyle",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(nodes),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": str(nodes),
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
    }


@needs_two_cores
@pytest.mark.parametrize("victim", ["started", "first"])
def test_a_killed_process_ends_the_others_with_a_message(
    victim: str, folders: PhantomFolders, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "medstyle_gan"]
    command += arguments(folders, "run", "--devices", "2", "training.checkpoint_every=1")
    command = [a.replace("training.steps=2", "training.steps=100000") for a in command]
    process = start(command, tmp_path)
    try:
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
        (child,) = children(process.pid)
        os.kill(child if victim == "started" else process.pid, signal.SIGKILL)
        code, _, err = finish(process)
    finally:
        process.kill()
    assert "Traceback" not in err
    if victim == "started":
        assert code == 2
        assert "process 1 of the training has ended with code -9" in err
    else:
        assert "another process of the training has ended" in err
    assert "go on from the last checkpoint with --resume" in err.lower()
    assert gone(child)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


# ------------------------------------------------------------------- before they come together


def config_of(*overrides: str) -> Config:
    return load_config(None, ["training.accelerator=cpu", *overrides])


def refused(config: Config, out: Path) -> str:
    with pytest.raises(UserError) as refusal, launching.processes_of(config, out, resume=False):
        pass
    return str(refusal.value)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_more_processes_than_cores_are_refused(tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    there = launching.logical_cores()
    message = refused(config_of(f"training.devices={there + 1}"), tmp_path / "run")
    assert f"training.devices is {there + 1}, but this machine has {there} logical core" in message
    assert f"--devices) to {there} or less" in message
    assert list(tmp_path.iterdir()) == []


def test_more_devices_than_gpus_are_refused(tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    clean.setattr("torch.cuda.is_available", lambda: True)
    clean.setattr("torch.cuda.device_count", lambda: 1)
    config = load_config(None, ["training.devices=2"])
    assert "this machine has 1 GPU(s)" in refused(config, tmp_path / "run")


def test_several_nodes_need_a_launcher(tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    message = refused(config_of("training.nodes=2"), tmp_path / "run")
    assert "training.nodes is 2" in message
    assert "torchrun" in message
    assert "docs/many_devices.md" in message


@pytest.mark.parametrize(
    ("launcher", "variables"),
    [
        ("torchrun", {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4"}),
        ("srun", slurm(0, nodes=4)),
    ],
)
def test_a_launcher_that_started_another_number_is_told(
    launcher: str, variables: dict[str, str], tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        clean.setenv(name, value)
    message = refused(config_of(), tmp_path / "run")
    assert message.startswith(f"{launcher} started 4 process(es)")
    assert "1 x 1" in message


def test_a_slurm_batch_script_without_srun_trains_alone(
    tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    for name, value in slurm(0, nodes=4).items():
        clean.setenv(name, value)
    clean.delenv("SLURM_STEP_ID")
    with launching.processes_of(config_of(), tmp_path, resume=False) as launch:
        assert launch.process.world_size == 1
        assert type(launch.environment).__name__ == "LightningEnvironment"
        assert this_process() == launch.process
        assert is_first_process()
