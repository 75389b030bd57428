"""`scripts/slurm_train.sbatch`, run with stand-ins for srun and scontrol."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medstyle_gan.cli import train

# Writes down how it was called; srun then ends with the code that the file `exit` holds.
STAND_IN = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
name = Path(__file__).name
called = {{"arguments": sys.argv[1:], "omp": os.environ.get("OMP_NUM_THREADS")}}
(here / f"{{name}}.json").write_text(json.dumps(called))
sys.exit(int((here / "exit").read_text()) if name == "srun" else 0)
"""
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_CPUS_PER_TASK": "6",
    "MEDSTYLE_PYTHON": sys.executable,
}
ARGUMENTS = ["--scans", "a scan folder", "--style", "s", "-o", "run", "training.steps=5"]


class Job:
    def __init__(self, script: Path, folder: Path) -> None:
        self.script = script
        self.folder = folder
        for name in ("srun", "scontrol"):
            (folder / name).write_text(STAND_IN)
            (folder / name).chmod(0o755)

    def run(self, srun_ends_with: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "exit").write_text(str(srun_ends_with))
        return subprocess.run(
            ["bash", str(self.script), *ARGUMENTS],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", **JOB, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, name: str) -> dict[str, object] | None:
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def job(repository: Path, tmp_path: Path) -> Job:
    return Job(repository / "scripts" / "slurm_train.sbatch", tmp_path)


def test_its_syntax_is_right(job: Job) -> None:
    subprocess.run(["bash", "-n", str(job.script)], check=True)


def test_options_of_slurm_stand_before_the_first_command(job: Job) -> None:
    lines = job.script.read_text().splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert options
    assert max(options) < first
    assert {"--requeue", "--signal=USR1@120"} <= {lines[i].split()[1] for i in options}


def test_srun_starts_a_task_for_each_device(job: Job) -> None:
    assert job.run().returncode == 0
    called = job.called("srun")
    assert called is not None
    assert called["omp"] == "6"
    train_command = [sys.executable, "-m", "medstyle_gan", "train", "--resume-or-start"]
    sizes = ["--devices", "4", "--nodes", "2"]
    bound = ["--kill-on-bad-exit=1", "--cpus-per-task=6"]
    assert called["arguments"] == [*bound, *train_command, *sizes, *ARGUMENTS]
    assert job.called("scontrol") is None


def test_medstyle_train_takes_the_arguments(job: Job) -> None:
    job.run()
    called = job.called("srun")
    assert called is not None
    arguments = list(called["arguments"])  # type: ignore[call-overload]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    args = parser.parse_intermixed_args(arguments[arguments.index("train") + 1 :])
    assert (args.devices, args.nodes, args.scans) == (4, 2, ["a scan folder"])
    assert args.resume_or_start


def test_a_job_whose_time_is_over_is_requeued(job: Job) -> None:
    assert job.run(srun_ends_with=75).returncode == 0
    called = job.called("scontrol")
    assert called is not None
    assert called["arguments"] == ["requeue", "4711"]


@pytest.mark.parametrize("code", [1, 2, 130, 143])
def test_other_ends_are_passed_on_and_not_requeued(code: int, job: Job) -> None:
    assert job.run(srun_ends_with=code).returncode == code
    assert job.called("scontrol") is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SLURM_NTASKS_PER_NODE": ""}, "--ntasks-per-node"),
        ({"MEDSTYLE_PYTHON": "/no/python"}, "no Python at /no/python"),
    ],
)
def test_what_is_missing_is_told(variables: dict[str, str], message: str, job: Job) -> None:
    process = job.run(**variables)
    assert process.returncode == 2
    assert message in process.stderr
    assert job.called("srun") is None
