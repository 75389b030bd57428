"""A patient's name in every path, header and setting gets neither into W&B nor into a model."""

from __future__ import annotations

import getpass
import gzip
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import pytest
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from tests.end_to_end.tiny import TINY
from tests.training.wandb_file import OfflineRun, contains_word, find_records, find_words
from tests.training.wandb_server import WandbServer

PATIENT = "Canary^Patient"
USER, HOST = "canaryuser77", "canaryhost77"
PRIVATE_WORDS = [PATIENT, USER, HOST, getpass.getuser(), socket.gethostname(), sys.executable]
PRIVATE_WORDS += ["--scans", ".nii", str(Path.home()), "/tmp", "medstyle_gan/__main__"]


class Training(NamedTuple):
    """A training in a patient's folder, and what it printed on stderr."""

    folder: Path
    run: Path
    environment: dict[str, str]
    printed: str


def write_with_the_patients_name(source: Path, path: Path) -> None:
    """A copy with the name in every header field that holds text, and in an extension."""
    image = nib.load(source)
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = PATIENT.encode()
    comment = nib.nifti1.Nifti1Extension("comment", f"{PATIENT}, born 1970-01-01".encode())
    image.header.extensions.append(comment)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    assert gzip.decompress(path.read_bytes()).count(PATIENT.encode()) == 5


@pytest.fixture(scope="module")
def training(
    phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Training:
    folder = tmp_path_factory.mktemp("canary") / PATIENT
    for domain in ("scans", "style"):
        for number, source in enumerate(sorted(getattr(phantoms, domain).iterdir())):
            name = f"{PATIENT}_{domain}_{number}"
            write_with_the_patients_name(source, folder / domain / name / f"{name}.nii.gz")
    (pair,) = phantoms.pairs.iterdir()
    for role in ("scan", "style"):
        target = folder / "pairs" / f"{PATIENT}_pair" / f"{PATIENT}_{role}.nii.gz"
        write_with_the_patients_name(pair / f"{role}.nii.gz", target)
    (folder / "config.yaml").write_text(f"# {PATIENT}\ntraining: {{seed: 3}}\n")
    command = [
        sys.executable,
        "-m",
        "medstyle_gan",
        "train",
        "--config",
        str(folder / "config.yaml"),
    ]
    for option in ("scans", "style", "pairs"):
        command += [f"--{option}", str(folder / option)]
    command += ["-o", str(folder / "run"), "--wandb", "offline", "--profile", *TINY]
    command += ["logging.upload_model=true"]
    command += [f"data.cache.folder={folder / 'cache'}"]
    command += [f"data.pairs.names.{role}={PATIENT}_{role}" for role in ("scan", "style")]
    command += [rf"data.subject_pattern=({re.escape(PATIENT)}_[a-z]+_\d)"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(repository),
        "HOME": str(folder / "home" / USER),
        "USER": USER,
        "LOGNAME": USER,
        "HOSTNAME": HOST,
        "WANDB_HOST": HOST,
        "WANDB_USERNAME": USER,
        "WANDB_NAME": PATIENT,
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return Training(folder, folder / "run", environment, done.stderr)


def test_wandb_gets_panels_scalars_and_settings(training: Training) -> None:
    (path,) = find_records(training.run)
    recorded = OfflineRun(path)
    for name in ("loss/generator", "loss/perceptual_scan_to_style", "loss/style_style_to_scan"):
        assert list(recorded.scalars(name)) == [1, 2]
    assert list(recorded.scalars("validation/psnr")) == [2]
    assert list(recorded.scalars("learning_rate/discriminator")) == [1, 2]
    assert len(recorded.scalars("peak_memory_mib")) == 2
    assert len(recorded.scalars("samples_per_second")) == 0  # both steps were profiled
    panels = recorded.panels()
    assert list(panels) == [1, 2]
    for step, (file,) in panels.items():
        with (
            Image.open(file) as theirs,
            Image.open(training.run / f"samples/step_{step:06d}.png") as ours,
        ):
            assert theirs.tobytes() == ours.tobytes()
    assert recorded.config["generator"]["ngf"] == 4
    assert recorded.config["training"]["seed"] == 3


def test_wandb_gets_no_patient_path_command_user_or_host(training: Training) -> None:
    assert find_words(training.run / "wandb", PRIVATE_WORDS) == []


def test_the_announced_command_sends_the_run_and_nothing_private(training: Training) -> None:
    (line,) = [line for line in training.printed.splitlines() if line.startswith("W&B")]
    (path,) = find_records(training.run)
    record = f"wandb/offline-run-*-{OfflineRun(path).id}"
    assert line == (
        f"W&B: offline; send it with `(cd {shlex.quote(str(training.run))} && "
        f"WANDB_PROGRAM=medstyle wandb sync {record})`"
    )
    command = line.split("`")[1]
    # WANDB_USERNAME is for W&B to have: what it holds is sent, as the login is.
    environment = {k: v for k, v in training.environment.items() if k != "WANDB_USERNAME"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    with WandbServer() as server:
        environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": 40 * "0"}
        done = subprocess.run(
            command,
            shell=True,
            cwd=training.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    everything = b"\n".join(server.received)
    assert b"loss/generator" in everything
    # The model, asked for by logging.upload_model, byte by byte.
    for file in (training.run / "model").iterdir():
        assert any(
            request.startswith(f"PUT /file/artifact/{file.name} ".encode())
            and request.endswith(file.read_bytes())
            for request in server.received
        )
    for request in server.received:
        line = request.split(b"\n")[0]
        picture = b"/file/media/" in line or b".safetensors" in line
        assert [w for w in PRIVATE_WORDS if contains_word(request, w, noise=picture)] == []


def test_model_figures_and_panels_hold_no_name_and_no_path(training: Training) -> None:
    words = [PATIENT, USER, HOST, str(training.folder), "canary"]
    for place in ("model", "samples", "profile"):
        assert any((training.run / place).iterdir())
        assert find_words(training.run / place, words) == []
    trace = gzip.decompress((training.run / "profile" / "trace.json.gz").read_bytes()).lower()
    assert not [word for word in (*words, str(Path.home())) if word.lower().encode() in trace]
    metrics = (training.run / "metrics.csv").read_bytes().lower()
    assert not [word for word in words if word.lower().encode() in metrics]


@pytest.mark.parametrize("direction", ["scan_to_style", "style_to_scan"])
def test_translations_hold_no_text_of_their_inputs(
    training: Training, tmp_path: Path, direction: str
) -> None:
    inputs = training.folder / ("scans" if direction == "scan_to_style" else "style")
    command = ["translate", str(training.run), str(inputs), "-o", str(tmp_path / PATIENT)]
    assert main([*command, "--direction", direction]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".csv"] + 3 * [".gz"] + 3 * [".json"]
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content) + content[:100]  # gzip may name the file
        assert str(training.folder).encode() not in content, path
        if path.name == "manifest.csv":  # names the files as they are named in this folder
            content = content.replace(f"{PATIENT}_".encode(), b"")
        assert PATIENT.encode() not in content, path
