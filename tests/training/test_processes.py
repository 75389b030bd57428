"""Two processes on this machine, connected by gloo, against one with the double batch.

The processes are started once for all cases: importing is most of their time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.inference import load_bundle
from medstyle_gan.training.checkpoint import load_checkpoint
from tests.training.small import NO_VGG, SHALLOW_VGG, SMALL, collections, rows_of
from tests.training.two_processes import run_case

BASE: dict[str, Any] = {
    **SMALL,
    **SHALLOW_VGG,
    "data.sample_size": [32, 32],
    "data.validation_fraction": 0,
    "loss.total_variation.weight": 0.1,
    "loss.style.weight": 50,
    "method.pool_size": 0,
    "training.steps": 20,
    "training.precision": "fp32",
    "training.accelerator": "cpu",
    "logging.log_every": 1,
    "logging.panel_every": 100,
    "logging.panel_samples": 1,
}
# At this rate the weights stay as they are: validation of the same networks.
STILL = {"method.generator_learning_rate": 1e-30, "method.discriminator_learning_rate": 1e-30}
# At the usual rate one process, its weights changed by 1e-7, is 1e-2 away from itself after ten
# steps: rounding turns signs in the L1 losses. At this one it stays below 1e-5, while
# the training changes the losses by 1e-3.
SLOW = {"method.generator_learning_rate": 2e-6, "method.discriminator_learning_rate": 2e-6}
SAME: dict[str, dict[str, Any]] = {
    "all losses": SLOW,
    "pool": {**SLOW, "method.pool_size": 5, "loss.style.target": "batch"},
    "wgan_gp": {
        **SLOW,
        "loss.adversarial.name": "wgan_gp",
        "discriminator.scales": 2,
        "method.gradient_clip": 1,
        "method.pool_size": 1,
        "training.steps": 6,
        **NO_VGG,
    },
    "no adversary": {**SLOW, "loss.adversarial.weight": 0, "training.steps": 3},
}
VALIDATED: dict[str, dict[str, Any]] = {
    "pairs": {**STILL, "training.steps": 2, "training.validate_every": 1},
    "unpaired": {
        **STILL,
        "training.steps": 2,
        "training.validate_every": 1,
        "data.validation_fraction": 0.4,
    },
}
ALONE = {"training.batch_size": 2, "training.devices": 1}
TOGETHER = {"training.batch_size": 1, "training.devices": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=5, seed=0, shape=(32, 32, 8), pairs=3
    )


class Runs:
    """Where each case's folders and notes are, of two processes and of one."""

    def __init__(self, folder: Path, common: dict[str, Any], pairs: Path) -> None:
        self.folder = folder
        self.common = common
        self.pairs = pairs

    def case(self, name: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
        pairs = {"data.pairs.folder": str(self.pairs)} if name == "pairs" else {}
        overrides = {**BASE, **self.common, **pairs, **settings, **TOGETHER}
        out = str(self.folder / more.pop("out", name))
        return {"overrides": overrides, "out": out, "port": free_port(), **more}

    def notes(self, name: str) -> list[dict[str, Any]]:
        paths = [self.folder / f"{name}.rank{rank}.pt" for rank in (0, 1)]
        return [torch.load(path, weights_only=True) for path in paths]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def runs(folders: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All cases, trained by two processes."""
    runs = Runs(tmp_path_factory.mktemp("runs"), collections(folders), folders.pairs)
    cases = [runs.case(name, settings) for name, settings in (SAME | VALIDATED).items()]
    stopped = {"method.pool_size": 5, "training.steps": 8}
    cases += [
        runs.case("through", stopped),
        # The signal reaches the second process alone. They ask each other once a second or so,
        # in which a quick machine would be through with all steps.
        runs.case("stopped", stopped, interrupt={"1": 3}, pause=0.4),
        runs.case(
            "resumed", stopped, out="stopped", resume=True, notes=str(runs.folder / "resumed")
        ),
        runs.case("seeds", {}, rank_overrides={"1": {"training.seed": 5}}),
        runs.case("other weights", {}, rank_overrides={"1": {"vgg.weights": "random:1"}}),
        runs.case("no data", {}, rank_overrides={"1": {"data.scans": str(folders.scans / "no")}}),
        runs.case(
            "other data", {}, rank_overrides={"1": {"data.scans": str(folders.pairs / "*/scan*")}}
        ),
    ]
    file = runs.folder / "cases.json"
    file.write_text(json.dumps(cases))
    started = {
        **os.environ,
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "MEDSTYLE_CACHE": str(runs.folder / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_processes", str(file)],
            env=started | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return runs


@pytest.fixture(scope="module")
def alone(runs: Runs) -> dict[str, dict[str, Any]]:
    """Notes of one process with the double batch."""
    notes = {}
    for name, settings in (SAME | VALIDATED).items():
        case = runs.case(name, settings, out=f"{name} alone")
        case["overrides"] |= ALONE
        notes[name] = run_case(case, 0)
    return notes


def figures_of(run: Path) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in row.items() if v} for row in rows_of(run)]


def steps_of(name: str) -> int:
    return int((BASE | SAME[name])["training.steps"])


@pytest.mark.parametrize("name", SAME)
def test_two_processes_have_the_gradients_of_one_with_the_double_batch(
    name: str, runs: Runs, alone: dict[str, dict[str, Any]]
) -> None:
    expected = alone[name]["gradients"]
    # The gradient of a bias before an instance norm, or of a critic's last one, is nothing but
    # rounding, whose size goes with the whole network's gradient.
    norms: dict[str, float] = {}
    for parameter, gradient in expected.items():
        network = parameter.partition(".")[0]
        norms[network] = norms.get(network, 0.0) + float(gradient.norm()) ** 2
    for notes in runs.notes(name):
        assert notes["gradients"].keys() == expected.keys()
        for parameter, gradient in notes["gradients"].items():
            own = float(expected[parameter].norm())
            whole = norms[parameter.partition(".")[0]] ** 0.5
            error = float((gradient - expected[parameter]).norm())
            assert error < max(1e-5 * own, 1e-6 * whole), parameter
    networks = {"scan_to_style", "style_to_scan", "scan_discriminator", "style_discriminator"}
    assert set(norms) == (
        networks if name != "no adversary" else {n for n in networks if "_to_" in n}
    )


@pytest.mark.parametrize("name", SAME)
def test_two_processes_have_the_losses_of_one_with_the_double_batch(
    name: str, runs: Runs, alone: dict[str, dict[str, Any]]
) -> None:
    ours, theirs = runs.notes(name)
    assert len(ours["losses"]) == len(theirs["losses"]) == steps_of(name)
    for mine, other, expected in zip(
        ours["losses"], theirs["losses"], alone[name]["losses"], strict=True
    ):
        assert mine.keys() == other.keys() == expected.keys()
        for loss, value in expected.items():
            if name == "wgan_gp" and ("adversarial" in loss or loss == "loss/generator"):
                continue  # a critic's bias, which nothing holds, moves them by rounding
            mean = (mine[loss] + other[loss]) / 2
            assert mean == pytest.approx(value, rel=1e-4, abs=1e-7), loss


def test_every_regulariser_is_among_what_was_compared(alone: dict[str, dict[str, Any]]) -> None:
    seen = {name.partition("/")[2] for name in alone["all losses"]["losses"][0]}
    for term in ("adversarial", "cycle", "identity", "perceptual", "style", "total_variation"):
        assert sum(name.startswith(term) for name in seen) >= 2, term
    assert {"gradient_penalty_scan", "gradient_penalty_style"} <= {
        name.partition("/")[2] for name in alone["wgan_gp"]["losses"][0]
    }


def test_metrics_are_means_over_both_processes(
    runs: Runs, alone: dict[str, dict[str, Any]]
) -> None:
    rows = figures_of(runs.folder / "all losses")
    assert [row["step"] for row in rows] == list(range(1, 21))
    for row, losses in zip(rows, alone["all losses"]["losses"], strict=True):
        for name, value in losses.items():
            assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-7), name


def test_the_processes_share_the_batch_between_them(runs: Runs) -> None:
    first, second = runs.notes("all losses")
    assert first["indices"] == [[2 * step] for step in range(20)]
    assert second["indices"] == [[2 * step + 1] for step in range(20)]


def test_no_search_for_unused_parameters(runs: Runs) -> None:
    for notes in runs.notes("all losses"):
        assert notes["ddp"] == [{}]


@pytest.mark.parametrize("name", VALIDATED)
def test_validation_by_two_processes_has_the_figures_of_one(
    name: str, runs: Runs, alone: dict[str, dict[str, Any]]
) -> None:
    ours, expected = (figures_of(runs.folder / each) for each in (name, f"{name} alone"))
    names = {n for row in expected for n in row if n.startswith("validation/")}
    assert len(names) == {"pairs": 4, "unpaired": 10}[name]
    for mine, whole in zip(ours, expected, strict=True):
        for figure in names:
            assert mine[figure] == pytest.approx(whole[figure], rel=1e-6), figure


@pytest.mark.parametrize("name", VALIDATED)
def test_all_processes_know_the_best_score(name: str, runs: Runs) -> None:
    first, second = (notes["best"] for notes in runs.notes(name))
    assert first == second
    assert first[0] in (1, 2)
    assert load_checkpoint(runs.folder / name / "checkpoints" / "best.ckpt")["step"] == first[0]


def test_a_signal_to_one_process_stops_all_after_the_same_step(runs: Runs) -> None:
    first, second = runs.notes("stopped")
    assert first["step"] == second["step"]
    assert 3 <= first["step"] < 8
    # One of them tells the launcher, which kills what is left of a training at any other code.
    assert (first["exit"], second["exit"]) == (143, 0)
    assert any("go on from the last checkpoint" in line for line in first["spoken"])


def test_resumed_processes_end_as_if_they_had_never_stopped(runs: Runs) -> None:
    through, resumed = (load_bundle(runs.folder / name).state for name in ("through", "stopped"))
    assert all(torch.equal(through[name], resumed[name]) for name in through)


def test_a_checkpoint_holds_the_pools_of_both_processes(runs: Runs) -> None:
    pools = load_checkpoint(runs.folder / "through" / "checkpoints" / "last.ckpt")["pools"]
    for pool in pools.values():
        assert {place: len(x) for place, x in pool["images"].items()} == {0: 3, 1: 2}


def test_only_the_first_process_speaks(runs: Runs) -> None:
    first, second = runs.notes("all losses")
    line = first["spoken"][0]
    assert "batch 1 each on 2 processes (2 together; learning rates as configured" in line
    assert "20 steps an epoch of 40 scan samples" in line
    assert second["spoken"] == []


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("seeds", ["training.seed is 0 in process 0", "5 in process 1"]),
        ("other weights", ["about the weights of the VGG-19 (vgg.weights)", "in process 1"]),
        ("no data", ["process 1: ", "no such file or folder"]),
        ("other data", ["about the data: scan.volumes is 5 in process 0", "3 in process 1"]),
    ],
)
def test_a_mistake_of_one_process_ends_both_with_one_message(
    name: str, parts: list[str], runs: Runs
) -> None:
    first, second = runs.notes(name)
    assert all(part in first["refused"] for part in parts), first["refused"]
    assert "refused" not in second
    assert second["exit"] == 2
    assert not (runs.folder / name).exists()
