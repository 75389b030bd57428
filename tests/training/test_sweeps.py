from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from medstyle_gan.cli import train as train_command
from medstyle_gan.cli.options import collection_options, resolve_config
from medstyle_gan.config import Config, load_config
from tests.training.wandb_file import OfflineRun, find_records, find_words
from tests.training.wandb_server import WandbServer

REPOSITORY = Path(__file__).resolve().parents[2]
SWEEPS = sorted((REPOSITORY / "configs" / "sweeps").glob("*.yaml"))
each_sweep = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
# What the schema of wandb's own `sweeps` package (0.2.0) allows at the top.
ALLOWED = {"apiVersion", "kind", "controller", "description", "program", "entity", "project"}
ALLOWED |= {"method", "command", "name", "metric", "early_terminate", "parameters"}


def sampled(parameters: dict[str, dict[str, Any]], largest: bool) -> dict[str, Any]:
    """A value of each parameter: its first or smallest, or its last or largest."""
    chosen = {}
    for name, parameter in parameters.items():
        if "value" in parameter:
            chosen[name] = parameter["value"]
        elif "values" in parameter:
            chosen[name] = parameter["values"][-1 if largest else 0]
        else:
            assert 0 < parameter["min"] < parameter["max"]
            chosen[name] = parameter["max" if largest else "min"]
    return chosen


def read(path: Path) -> dict[str, Any]:
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    sweep = load_sweep_config(str(path))
    assert sweep is not None
    return sweep


def agents_command(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What `wandb agent` runs, by its own macros."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    arguments = {name: {"value": value} for name, value in values.items()}
    macros = create_sweep_command_args({"args": arguments}) | {"env": ["/usr/bin/env"]}
    command: list[str] = []
    for part in create_sweep_command(list(sweep["command"])):
        is_macro = part.startswith("${") and part.endswith("}")
        command += macros[part[2:-1]] if is_macro else [part]
    return command


def test_there_is_a_sweep() -> None:
    assert SWEEPS


@each_sweep
def test_a_sweep_has_what_wandb_knows_and_needs(path: Path) -> None:
    sweep = read(path)
    assert set(sweep) <= ALLOWED
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"]["goal"] in ("minimize", "maximize")
    assert sweep["metric"]["name"] in (
        "validation/score_scan_to_style",
        "validation/psnr",
    )


@each_sweep
@pytest.mark.parametrize("largest", [False, True])
def test_a_sweeps_parameters_reach_the_training(
    path: Path, largest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = read(path)
    values = sampled(sweep["parameters"], largest)
    medstyle = tmp_path / "medstyle"
    medstyle.write_text(
        f"#!{sys.executable} -IS\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    )
    medstyle.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "WANDB_RUN_ID": "abc12345",
        "MEDSTYLE_SCANS": "my scans/",
        "MEDSTYLE_STYLE": "style.csv",
    }
    process = subprocess.run(
        agents_command(sweep, values), env=environment, capture_output=True, text=True, check=True
    )
    command, *arguments = json.loads(process.stdout)

    assert command == "train"
    monkeypatch.chdir(REPOSITORY)  # where the sweep's paths lead from
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    args = parser.parse_intermixed_args(arguments)
    config = resolve_config(args, collection_options(args))
    assert args.out == "runs/sweep/abc12345"
    assert args.wandb == "online"
    assert (config.data.scans, config.data.style) == ("my scans/", "style.csv")
    # Exactly what was sampled differs from the recipe.
    expected = load_config(args.config, [f"{name}={value}" for name, value in values.items()])
    assert config.model_dump(exclude={"data", "logging"}) == expected.model_dump(
        exclude={"data", "logging"}
    )
    for name, value in values.items():
        found: Any = config
        for key in name.split("."):
            found = getattr(found, key)
        assert found == value


@each_sweep
def test_wandb_sweep_sends_it(path: Path, tmp_path: Path) -> None:
    with WandbServer() as server:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": 40 * "0",
            "WANDB_ERROR_REPORTING": "false",
        }
        done = subprocess.run(
            [Path(sys.executable).parent / "wandb", "sweep", "--project", "p", str(path)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb agent someone/p/a_sweep" in done.stderr
    sent = [
        json.loads(request.rpartition(b"\n")[2])["variables"]
        for request in server.received
        if b"UpsertSweep" in request
    ]
    assert [yaml.safe_load(variables["config"]) for variables in sent] == [read(path)]


def test_a_run_of_a_sweep_is_the_one_that_the_agent_began(tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "Canary"
    folder.mkdir()
    values = {"loss.cycle.weight": {"value": 4.0}, "training.steps": {"value": 20}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"wandb_version": 1, **values}))
    settings = Config.model_validate({"logging": {"wandb": "offline", "project": "another"}})
    (folder / "config.json").write_text(settings.model_dump_json())
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(repository),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        # As `wandb agent` sets them.
        "WANDB_SWEEP_ID": "a_sweep",
        "WANDB_RUN_ID": "abc12345",
        "WANDB_PROJECT": "the_sweeps",
        "WANDB_SWEEP_PARAM_PATH": str(folder / "sweep.yaml"),
    }
    program = Path(__file__).with_name("wandb_training.py")
    command = [sys.executable, program, "config.json", "offline", "run"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=300)
    (path,) = find_records(folder / "run")
    recorded = OfflineRun(path)
    (run, *_) = [r.run for r in recorded.records if r.WhichOneof("record_type") == "run"]

    assert (recorded.id, recorded.project, run.sweep_id) == ("abc12345", "the_sweeps", "a_sweep")
    assert find_words(folder / "run" / "wandb", ["Canary", "/tmp", ".py"]) == []
