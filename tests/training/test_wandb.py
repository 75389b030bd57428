from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.training.wandb_logger import make_wandb_logger
from medstyle_gan.training.wandb_privacy import public_config
from tests.training.wandb_file import OfflineRun, contains_word, find_records, find_words
from tests.training.wandb_server import WandbServer
from tests.training.wandb_training import run

PATIENT = "Canary^Patient_Smith"
USER, HOST = "canaryuser77", "canaryhost77"
PRIVATE_WORDS = [PATIENT, "Canary^Patient", USER, HOST, getpass.getuser(), socket.gethostname()]
PRIVATE_WORDS += ["--scans", ".nii", ".py", sys.executable, str(Path.home()), "/tmp", "example.org"]
PRIVATE_WORDS += ["printed"]


def private_settings() -> dict[str, Any]:
    """A config in which everything that can name a patient does."""
    folder = f"/data/{PATIENT}"
    return {
        "data": {
            "scans": [f"{folder}/scan.nii.gz"],
            "style": f"{folder}/style",
            "pairs": {"folder": f"{folder}/pairs", "names": {"scan": f"{PATIENT}_T1"}},
            "subject_pattern": f"({PATIENT})",
            "cache": {"folder": f"{folder}/cache"},
        },
        "vgg": {"weights": f"{folder}/vgg19.pth"},
        "logging": {"wandb": "offline", "project": "a_project"},
    }


@pytest.fixture(scope="module")
def recorded_runs(
    tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> tuple[Path, list[bytes]]:
    """A real offline run and a real online run, made by a program in a patient's folder.

    Returns:
        The parent of the run folders `offline` and `online`, and what a server got.
    """
    folder = tmp_path_factory.mktemp(PATIENT)
    runs = folder / PATIENT
    program = folder / f"train_{PATIENT}.py"
    shutil.copy(Path(__file__).with_name("wandb_training.py"), program)
    (folder / "config.json").write_text(json.dumps(private_settings()))
    # A repository with an address, and variables that ask for all that is switched off.
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "refs").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git" / "config").write_text(
        f'[remote "origin"]\n\turl = https://example.org/{PATIENT}.git\n'
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(repository),
        "HOME": str(folder / "home" / USER),
        "USER": USER,
        "LOGNAME": USER,
        "HOSTNAME": HOST,
        "WANDB_MODE": "disabled",
        "WANDB_DIR": str(folder / "elsewhere"),
        "WANDB_NAME": PATIENT,
        "WANDB_PROJECT": PATIENT,
        "WANDB_CONSOLE": "wrap",
        "WANDB_HOST": HOST,
        "WANDB_USERNAME": USER,
        "WANDB_PROGRAM": f"train_{PATIENT}.py",
        "WANDB_SAVE_CODE": "true",
        "WANDB_ERROR_REPORTING": "true",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, program, "config.json"]
    command += ["offline", runs / "offline", "online", runs / "online", f"--scans=/x/{PATIENT}"]
    with WandbServer() as server:
        environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": 40 * "0"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr
    assert PATIENT in done.stdout
    return runs, server.received


@pytest.fixture
def offline_run(recorded_runs: tuple[Path, list[bytes]]) -> Path:
    return recorded_runs[0] / "offline"


def test_offline_run_holds_every_row_of_the_metrics_at_our_steps(offline_run: Path) -> None:
    (path,) = find_records(offline_run)
    recorded = OfflineRun(path)

    assert recorded.metrics["*"] == "step"
    assert recorded.scalars("loss/cycle_scan") == {5: 3.0, 10: 8.0, 15: 13.0, 20: 18.0}
    assert list(recorded.scalars("learning_rate/generator")) == [5, 10, 15, 20]
    for name in ("samples_per_second", "data_wait_share", "peak_memory_mib"):
        assert len(recorded.scalars(name)) == 4


def test_offline_run_holds_the_panels_that_stand_in_the_folder(offline_run: Path) -> None:
    panels = OfflineRun(find_records(offline_run)[0]).panels()

    assert list(panels) == [10, 20]
    for step, (file,) in panels.items():
        ours = offline_run / "samples" / f"step_{step:06d}.png"
        with Image.open(file) as theirs, Image.open(ours) as image:
            assert np.array_equal(np.asarray(theirs), np.asarray(image))
            assert not theirs.info


def test_offline_run_holds_the_resolved_config(offline_run: Path) -> None:
    recorded = OfflineRun(find_records(offline_run)[0])

    assert recorded.config["generator"]["ngf"] == 64  # a default
    assert recorded.config["vgg"]["weights"] == "PATH"
    assert recorded.config == json.loads(
        json.dumps(public_config(Config.model_validate(private_settings())))
    )


def test_config_wins_over_the_environment(offline_run: Path) -> None:
    recorded = OfflineRun(find_records(offline_run)[0])

    assert recorded.project == "a_project"
    assert recorded.name == f"cyclegan-{recorded.id}"
    assert not (offline_run.parents[1] / "elsewhere").exists()


def test_offline_run_names_no_patient_path_command_user_or_host(offline_run: Path) -> None:
    folder = offline_run / "wandb"

    assert find_words(folder, PRIVATE_WORDS) == []
    assert OfflineRun(find_records(offline_run)[0]).host == ""
    # Only records and pictures: no logs, code, requirements, metadata or links.
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    assert {path.suffix for path in files} == {".wandb", ".png"}


def test_online_run_sends_no_patient_path_command_user_or_host(
    recorded_runs: tuple[Path, list[bytes]],
) -> None:
    runs, received = recorded_runs
    everything = b"\n".join(received)

    assert b"loss/cycle_scan" in everything
    assert b"/file/media/images/samples_" in everything
    for request in received:
        picture = b"/file/media/" in request.split(b"\n")[0]
        assert [w for w in PRIVATE_WORDS if contains_word(request, w, noise=picture)] == []
    assert find_words(runs / "online" / "wandb", PRIVATE_WORDS) == []


def test_find_words_sees_names_links_and_contents(tmp_path: Path) -> None:
    (tmp_path / "Canary_file").touch()
    (tmp_path / "link").symlink_to("/home/canary_user")
    (tmp_path / "a.bin").write_bytes(b"\x00\x01aCANARY_HOST\x02 vm\x00 svms")

    found = find_words(tmp_path, ["canary_user", "canary_host", "canary_file", "vm", "svm"])

    assert sorted(line.removeprefix(f"{tmp_path}/") for line in found) == [
        "Canary_file: 'canary_file' in its name",
        "a.bin: 'canary_host' in its contents",
        "a.bin: 'vm' in its contents",
        "link: 'canary_user' in its link",
    ]


@pytest.fixture
def config() -> Config:
    return Config.model_validate(private_settings())


def test_resumed_run_goes_on_under_the_same_id(tmp_path: Path, config: Config) -> None:
    run(config, tmp_path / PATIENT, 10)
    run(config, tmp_path / PATIENT, 20, start_step=10)
    first, second = map(OfflineRun, find_records(tmp_path / PATIENT))

    assert (first.id, first.name) == (second.id, second.name)
    assert list(first.scalars("loss/generator")) == [5, 10]
    assert list(second.scalars("loss/generator")) == [15, 20]
    assert find_words(tmp_path / PATIENT / "wandb", [PATIENT, getpass.getuser()]) == []


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
from medstyle_gan.config import Config
from medstyle_gan.training.wandb_logger import make_wandb_logger
config = Config.model_validate(json.loads(sys.argv[1]))
logger = make_wandb_logger(config, Path(sys.argv[2]))
for step in (5, 10, 15):
    logger.log_metrics({"loss/generator": float(step), "validation/psnr": 1.0}, step)
time.sleep(3)
logger.log_metrics({"loss/generator": 20.0}, 20)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_run_goes_on_as_one_run_whose_steps_stand_once(
    tmp_path: Path, config: Config, repository: Path
) -> None:
    folder = tmp_path / PATIENT
    folder.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(private_settings()), folder],
        env=environment | {"PYTHONPATH": str(repository)},
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    # From a checkpoint of step 10 on: 15 is made again, and a validation comes to it late.
    logger = make_wandb_logger(config, folder)
    assert logger is not None
    for step in (15, 20, 25):
        logger.log_metrics({"loss/generator": -1.0}, step)
        logger.log_metrics({"validation/ssim": -1.0}, step)
    announced = logger.describe()
    logger.finalize("success")
    assert find_words(folder / "wandb", [PATIENT, getpass.getuser(), str(repository)]) == []

    with WandbServer() as server:
        done = subprocess.run(
            announced.split("`")[1],
            shell=True,
            env=environment
            | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
            | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": 40 * "0"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    ((_, lines),) = server.history.items()
    generator = [
        (line["step"], line["loss/generator"]) for line in lines if "loss/generator" in line
    ]
    # The kill took at most what was given in the last second: step 20.
    assert [pair for pair in generator if pair[0] != 20] == [(5, 5), (10, 10), (15, 15), (25, -1)]
    assert len([pair for pair in generator if pair[0] == 20]) <= 1
    validated = [line["step"] for line in lines if any(k.startswith("validation/") for k in line)]
    assert validated == [5, 10, 15, 20, 25]


def test_run_killed_before_anything_was_written_is_cleared_away(
    tmp_path: Path, config: Config
) -> None:
    empty = tmp_path / "wandb" / "offline-run-20260101_000000-0000000a"
    empty.mkdir(parents=True)
    (empty / "run-0000000a.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    logger = make_wandb_logger(config, tmp_path)
    assert logger is not None
    logger.log_metrics({"loss/generator": 1.0}, 1)
    logger.finalize("success")

    assert not empty.exists()
    assert OfflineRun(find_records(tmp_path)[0]).scalars("loss/generator") == {1: 1.0}


def test_damaged_memory_of_the_run_is_told(tmp_path: Path, config: Config) -> None:
    for text in ("{", "[]", '{"id": "a"}', '{"id": "a", "given": 3}'):
        (tmp_path / "wandb_run.json").write_text(text)
        with pytest.raises(UserError, match=r"wandb_run\.json.*remove it"):
            make_wandb_logger(config, tmp_path)


@pytest.mark.parametrize("asked", [False, True])
def test_model_is_logged_when_asked_for_and_its_record_names_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    settings = private_settings()
    settings["logging"]["upload_model"] = asked
    folder = tmp_path / PATIENT
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text("steps: 7\n")
    (model / "generators.safetensors").write_bytes(b"weights")
    home = tmp_path / "home" / PATIENT
    monkeypatch.setenv("WANDB_DATA_DIR", str(home))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(home))
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()
    logger = make_wandb_logger(Config.model_validate(settings), Path(PATIENT))
    assert logger is not None
    logger.log_metrics({"loss/generator": 1.0}, 7)
    logger.finalize("success")  # Lightning, before the model is written
    if asked:
        logger.upload_model(Path(PATIENT) / "model", 7)
        logger.close()
    assert Path.cwd() == here

    (path,) = find_records(folder)
    recorded = OfflineRun(path)
    artifacts = [
        record.request.log_artifact.artifact
        if record.WhichOneof("record_type") == "request"
        else record.artifact
        for record in recorded.records
        if "artifact" in str(record.WhichOneof("record_type"))
        or (
            record.WhichOneof("record_type") == "request"
            and record.request.HasField("log_artifact")
        )
    ]
    assert len(artifacts) == asked
    for artifact in artifacts:
        assert (artifact.type, artifact.name) == ("model", f"model-{recorded.id}")
        assert json.loads(artifact.metadata) == {"steps": 7}
        files = {entry.path: entry.local_path for entry in artifact.manifest.contents}
        # As seen from the run's folder, where the announced command sends it from.
        assert files == {name: f"model/{name}" for name in ("generators.safetensors", "model.yaml")}
    assert find_words(folder / "wandb", [PATIENT, str(tmp_path), getpass.getuser()]) == []
    assert not list(home.rglob("tmp*"))  # no copy of the model there


def test_off_makes_no_logger(tmp_path: Path) -> None:
    assert make_wandb_logger(Config(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_long_record_is_read_across_blocks(tmp_path: Path, config: Config) -> None:
    logger = make_wandb_logger(config, tmp_path)
    assert logger is not None
    rng = np.random.default_rng(0)
    values = {f"loss/{i}_{'x' * 40}": float(v) for i, v in enumerate(rng.random(3000))}
    logger.log_metrics(values, 7)
    logger.finalize("success")
    (path,) = find_records(tmp_path)

    assert OfflineRun(path).history == [values | {"step": 7}]
    assert path.stat().st_size > 3 * 32 * 1024


def test_failed_training_leaves_a_run_without_logs(tmp_path: Path, config: Config) -> None:
    logger = make_wandb_logger(config, tmp_path / PATIENT)
    assert logger is not None
    logger.log_metrics({"loss/generator": 1.0}, 1)
    logger.finalize("failed")

    assert OfflineRun(find_records(tmp_path / PATIENT)[0]).scalars("loss/generator") == {1: 1.0}
    assert find_words(tmp_path / PATIENT / "wandb", [PATIENT]) == []


def test_online_without_a_login_says_how_to_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config = Config.model_validate({"logging": {"wandb": "online"}})

    with pytest.raises(UserError, match=r"(?s)no login.*wandb login.*WANDB_API_KEY.*offline"):
        make_wandb_logger(config, tmp_path)


@pytest.mark.parametrize("name", ["data/patient", r"C:\patient"])
def test_run_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    config = Config.model_validate({"logging": {"wandb": "offline", "run_name": name}})

    with pytest.raises(UserError, match=r"logging\.run_name"):
        make_wandb_logger(config, tmp_path)


def test_configuration_that_wandb_would_add_by_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config-defaults.yaml").write_text("scans: {value: /data/patient}\n")
    with pytest.raises(UserError, match=r"config-defaults\.yaml"):
        make_wandb_logger(config, tmp_path)

    (tmp_path / "config-defaults.yaml").unlink()
    monkeypatch.setenv("WANDB_CONFIG_PATHS", "a.yaml")
    with pytest.raises(UserError, match="WANDB_CONFIG_PATHS"):
        make_wandb_logger(config, tmp_path)


@pytest.mark.parametrize("weights", ["imagenet", "random:0"])
def test_weights_that_are_no_path_stay(weights: str) -> None:
    public = public_config(Config.model_validate({"vgg": {"weights": weights}}))
    assert public["vgg"]["weights"] == weights


def free_texts(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> set[str]:
    """Dotted names of the settings that take any text."""
    found: set[str] = set()
    if "$ref" in schema:
        return free_texts(definitions[schema["$ref"].split("/")[-1]], definitions, prefix)
    if schema.get("type") == "string" and not {"enum", "const"} & schema.keys():
        found.add(prefix)
    for name, inner in schema.get("properties", {}).items():
        found |= free_texts(inner, definitions, f"{prefix}.{name}".lstrip("."))
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, []):
            found |= free_texts(inner, definitions, prefix)
    if isinstance(schema.get("items"), dict):
        found |= free_texts(schema["items"], definitions, prefix)
    return found


def test_every_setting_that_takes_text_was_considered() -> None:
    schema = Config.model_json_schema()
    known_harmless = {
        "loss.perceptual.layers",
        "loss.style.layers",
        "logging.project",
        "logging.run_name",
        "training.max_time",
    }
    texts = free_texts(schema, schema["$defs"], "") - known_harmless
    canary = Config()
    public = json.dumps(public_config(canary))

    assert texts == {
        "data.scans",
        "data.style",
        "data.pairs.folder",
        "data.pairs.names.scan",
        "data.pairs.names.style",
        "data.pairs.names.mask",
        "data.pairs.names.labels",
        "data.pairs.names.lesions",
        "data.subject_pattern",
        "data.cache.folder",
        "vgg.weights",
        "panel.title",
        "panel.captions",
    }, "a new setting takes text: if it can name a file or a subject, add it to PRIVATE_FIELDS"
    assert "subject_pattern" not in public
    assert "pairs" not in json.loads(public)["data"]
    assert "panel" not in json.loads(public)
