from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator
from medstyle_gan.methods import CycleGAN
from medstyle_gan.networks.vgg19_weights import convolution_shapes, random_weights
from medstyle_gan.training import regularizer, train
from medstyle_gan.training.checkpoint import load_checkpoint, save_checkpoint
from medstyle_gan.training.throughput import FIGURES
from medstyle_gan.volumes import read_volume
from tests.training.small import (
    SHALLOW_VGG,
    SMALL,
    assert_same_weights,
    collections,
    killed_at,
    make_config,
    rows_of,
    weights_of,
)


def small_config(folders: PhantomFolders, *overrides: str) -> Config:
    lazy = {"loss.perceptual.every_n_steps": 2, "loss.style.every_n_steps": 2}
    settings = {
        **collections(folders),
        **SMALL,
        **SHALLOW_VGG,
        **lazy,
        "method.pool_size": 3,
        "method.ema_decay": 0.9,
        "training.steps": 8,
        "training.checkpoint_every": 3,
        "training.validate_every": 4,
        "logging.log_every": 2,
        "logging.panel_every": 4,
        "logging.panel_samples": 2,
    }
    return make_config(settings, *overrides)


@pytest.fixture(scope="module")
def run(folders: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config(folders), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def copied_run(run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_run_folder_holds_all_that_was_promised(run: Path) -> None:
    for name in ("config.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        assert (run / name).is_file(), name
    assert sorted(p.name for p in (run / "samples").iterdir()) == [
        "step_000004.png",
        "step_000008.png",
    ]
    names = sorted(p.name for p in (run / "model").iterdir())
    assert names == ["generators.safetensors", "model.yaml"]
    assert not list(run.rglob("*.part"))


def test_profiling_changes_nothing_but_what_is_told(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    lines: list[str] = []
    profiled = train(small_config(folders), tmp_path / "run", announce=lines.append, profile=True)
    assert_same_weights(profiled, run)
    figures = json.loads((profiled / "profile" / "operations.json").read_text())
    assert (figures["first_step"], figures["steps"]) == (0, 8)
    assert any("convolution" in operation["name"] for operation in figures["operations"])
    names = [f"{run}", str(folders.scans.parent), "sub-"]
    trace = gzip.decompress((profiled / "profile" / "trace.json.gz").read_bytes()).decode()
    assert not [name for name in [*names, str(tmp_path)] if name in trace]


def test_metrics_tell_where_the_steps_time_goes(run: Path) -> None:
    first, *_ = rows_of(run)  # the first period of steps is taken apart
    parts = ("generators", "discriminators", "vgg")
    shares = [float(first[f"step_share/{part}"]) for part in parts]
    assert all(share > 0 for share in shares)
    assert sum(shares) < 1


def test_saved_config_is_accepted_back(run: Path, folders: PhantomFolders) -> None:
    assert load_config(run / "config.yaml") == small_config(folders)


def test_metrics_have_every_loss_and_the_validation(run: Path) -> None:
    rows = rows_of(run)
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8]
    losses = {name for name in rows[0] if name.startswith("loss/")}
    wanted = {
        f"loss/{name}"
        for name in (
            "adversarial_scan_to_style",
            "adversarial_style_to_scan",
            "cycle_scan",
            "cycle_style",
            "identity_scan",
            "identity_style",
            "perceptual_scan_to_style",
            "perceptual_reconstruction_style",
            "style_style_to_scan",
            "discriminator_scan",
            "discriminator_style",
            "generator",
        )
    }
    assert wanted <= losses
    assert all(float(row[name]) >= 0 for row in rows for name in losses)
    assert rows[1]["validation/cycle_error_scan"]
    assert not rows[0]["validation/cycle_error_scan"]


def test_learning_rate_is_constant_then_falls(run: Path) -> None:
    rates = [float(row["learning_rate/generator"]) for row in rows_of(run)]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[1] == pytest.approx(2e-4)
    assert rates[2] > rates[3] > 0


def test_panels_show_two_rows_of_eight_pictures(run: Path) -> None:
    panel = np.asarray(Image.open(run / "samples" / "step_000008.png"))
    assert panel.std() > 10
    assert panel.shape[1] > 3 * panel.shape[0]


def test_checkpoint_loads_without_pickled_code(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["step"] == state["samples"] == 8
    assert len(state["ranks"]) == 1
    assert not any("vgg" in name for name in state["networks"])


def test_model_is_the_moving_average_not_the_last_weights(run: Path) -> None:
    state = load_checkpoint(run / "checkpoints" / "last.ckpt")
    name = next(iter(state["networks"]["scan_to_style"]))
    model = weights_of(run)[f"scan_to_style.{name}"]
    assert torch.equal(model, state["ema"]["generators"]["scan_to_style"][name])
    assert not torch.equal(model, state["networks"]["scan_to_style"][name])


def test_model_translates_a_volume_on_its_own_grid(run: Path, folders: PhantomFolders) -> None:
    scan = next(folders.scans.iterdir())
    translation = Translator.load(run)(scan)
    volume = read_volume(scan)
    assert translation.array.shape == volume.array.shape
    assert np.array_equal(translation.geometry.affine, volume.geometry.affine)
    assert np.isfinite(translation.array).all()


def test_same_seed_gives_the_same_model(run: Path, folders: PhantomFolders, tmp_path: Path) -> None:
    assert_same_weights(run, train(small_config(folders), tmp_path / "again"))


def test_another_seed_gives_another_model(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    other = train(small_config(folders, "training.seed=1"), tmp_path / "other")
    ours, theirs = weights_of(run), weights_of(other)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_loader_workers_do_not_change_the_model(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    assert_same_weights(run, train(small_config(folders, "data.workers=2"), tmp_path / "workers"))


@pytest.mark.parametrize("killed_before", [4, 7])
def test_resumed_run_ends_bit_for_bit_as_the_one_that_ran_through(
    run: Path,
    folders: PhantomFolders,
    tmp_path: Path,
    killed_before: int,
) -> None:
    out = tmp_path / "run"
    with killed_at(killed_before):
        train(small_config(folders), out)
    torch.rand(10)  # another state of the global generator, as after a restart
    train(small_config(folders), out, resume=True)
    assert_same_weights(run, out)
    for ours, theirs in zip(rows_of(run), rows_of(out), strict=True):
        clocks = FIGURES  # what the machine's mood decides
        assert {k: v for k, v in ours.items() if k not in clocks} == {
            k: v for k, v in theirs.items() if k not in clocks
        }


def test_resume_of_a_finished_run_changes_nothing(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    out = train(small_config(folders), tmp_path / "done")
    train(small_config(folders), out, resume=True)
    assert_same_weights(run, out)


def test_resume_refuses_changed_fields_and_names_them(run: Path, folders: PhantomFolders) -> None:
    with pytest.raises(UserError, match=r"generator\.ngf: was 4, now 8") as caught:
        train(small_config(folders, "generator.ngf=8", "logging.log_every=3"), run, resume=True)
    refused, _, allowed = str(caught.value).partition("these may change: ")
    assert "log_every" not in refused
    assert "log_every 2 → 3" in allowed


def test_an_edited_config_of_the_run_is_compared_with_what_it_was_trained_with(
    copied_run: Path,
) -> None:
    path = copied_run / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["loss"]["cycle"]["weight"] = 3.0
    settings["training"]["keep_checkpoints"] = 5
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=r"loss\.cycle\.weight: was 10.0, now 3.0") as caught:
        train(load_config(path), copied_run, resume=True)
    assert "these may change: training.keep_checkpoints 3 → 5" in str(caught.value)


def test_resume_refuses_a_checkpoint_with_settings_of_another_version(
    copied_run: Path, folders: PhantomFolders
) -> None:
    path = copied_run / "checkpoints" / "step_00000008.ckpt"
    state = load_checkpoint(path)
    save_checkpoint(path, state | {"config": state["config"] | {"gone": 1}})
    with pytest.raises(UserError, match=r"step_00000008\.ckpt: its settings are not those of"):
        train(small_config(folders), copied_run, resume=True)


def test_resume_refuses_a_checkpoint_of_another_method_or_of_more_processes(
    copied_run: Path, folders: PhantomFolders
) -> None:
    path = copied_run / "checkpoints" / "step_00000008.ckpt"
    state = load_checkpoint(path)
    save_checkpoint(path, state | {"method": "cut"})
    with pytest.raises(UserError, match=r"step_00000008\.ckpt: a checkpoint of cut, not of cycle"):
        train(small_config(folders), copied_run, resume=True)
    save_checkpoint(path, state | {"ranks": 2 * state["ranks"]})
    with pytest.raises(UserError, match="written by 2 processes together, now there are 1"):
        train(small_config(folders), copied_run, resume=True)


def test_resume_takes_the_same_vgg_weights_from_elsewhere_and_no_others(
    run: Path, copied_run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    weights = {
        f"{convolution_shapes()[layer][0]}.{kind}": tensor
        for (layer, _, kind), tensor in (
            (name.partition("."), tensor) for name, tensor in random_weights(0).items()
        )
    }
    path = tmp_path / "vgg.safetensors"
    save_file(weights, path)
    last = copied_run / "checkpoints" / "step_00000008.ckpt"
    last.unlink()
    (copied_run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"VGG-19's weights \(vgg\.weights\) are not those that"):
        train(small_config(folders, "vgg.weights=random:1"), copied_run, resume=True)
    assert not last.exists()

    train(small_config(folders, f"vgg.weights={path}"), copied_run, resume=True)

    assert_same_weights(run, copied_run)


def test_resume_without_a_run_says_so(folders: PhantomFolders, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run there"):
        train(small_config(folders), tmp_path, resume=True)


def test_damaged_newest_checkpoint_is_told_of_and_the_one_before_it_gone_on_from(
    run: Path, copied_run: Path, folders: PhantomFolders
) -> None:
    last = copied_run / "checkpoints" / "step_00000008.ckpt"
    for path in (last, copied_run / "checkpoints" / "last.ckpt"):
        os.truncate(path, path.stat().st_size - 1000)
    lines: list[str] = []
    train(small_config(folders), copied_run, resume=True, announce=lines.append)
    assert "step_00000008.ckpt: damaged" in lines[0]
    assert "going on from step_00000006.ckpt" in lines[0]
    assert_same_weights(run, copied_run)
    assert load_checkpoint(last)["step"] == 8


def test_longer_run_is_the_one_that_would_have_been_while_rates_are_constant(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    constant = ("method.constant_fraction=1", "training.validate_every=100")
    lengthened = train(small_config(folders, *constant, "training.steps=4"), tmp_path / "longer")
    longer = small_config(folders, *constant, "training.steps=6")
    lines: list[str] = []
    train(longer, lengthened, resume=True, announce=lines.append)
    assert "training.steps 4 → 6" in lines[0]
    assert_same_weights(lengthened, train(longer, tmp_path / "long"))


def test_run_record_tells_of_each_start_and_names_nobody(
    copied_run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    train(small_config(folders), copied_run, resume=True)
    text = (copied_run / "run.yaml").read_text()
    record = yaml.safe_load(text)
    assert [start["step"] for start in record["starts"]] == [0, 8]
    assert record["data"]["scan"]["volumes"] == 2
    assert len(record["data"]["style"]["contents"]) == 64
    subjects = [path.name.partition(".")[0] for path in folders.scans.iterdir()]
    assert not [w for w in (*subjects, str(tmp_path), "phantoms", "/") if w in text]


def test_changed_collection_is_noticed(
    copied_run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    shutil.copytree(folders.scans, scans)
    lines: list[str] = []
    moved = small_config(folders, f"data.scans={scans}")
    train(moved, copied_run, resume=True, announce=lines.append)  # elsewhere, but the same
    assert "data.scans (another place)" in lines[0]
    first, second, _ = sorted(scans.iterdir())
    shutil.copy(second, first)
    with pytest.raises(UserError, match="the scan collection is not the one that the run began"):
        train(moved, copied_run, resume=True)


def test_a_run_that_is_being_trained_is_left_alone(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    program = (
        "import sys, pathlib\n"
        "from medstyle_gan.training.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    half = run / "checkpoints" / ".medstyle-0.part"
    half.touch()
    with pytest.raises(UserError, match="another training is at work"):
        train(small_config(folders), run, resume=True)
    assert half.exists()
    other.kill()
    other.wait()
    train(small_config(folders), run, resume=True)  # a killed program's lock is gone
    assert not half.exists()


def test_a_second_ctrl_c_stops_at_once_and_tells_that_there_is_no_checkpoint(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_twice(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(CycleGAN, "training_step", press_twice)
    before = signal.getsignal(signal.SIGINT)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(small_config(folders), tmp_path / "run", announce=lines.append)
    assert signal.getsignal(signal.SIGINT) == before
    assert "nothing to go on from" in lines[-1]
    with pytest.raises(UserError, match="before its first checkpoint; remove its folder"):
        train(small_config(folders), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sample_size=[42,42]", "multiples of 4"),
        ("discriminator.layers=4", "at least 48"),
        ("data.pairs.names.scan=nothing", "no scan"),
        ("vgg.weights=/nowhere.pth", "no such file"),
        ("data.sample_size=[28,28] loss.style.layers=[pool5]", "small for VGG-19's pool5"),
    ],
)
def test_what_cannot_be_trained_on_leaves_no_run_folder(
    folders: PhantomFolders, tmp_path: Path, override: str, message: str
) -> None:
    pairs = f"data.pairs.folder={folders.pairs}"
    settings = small_config(folders, pairs, *override.split())
    with pytest.raises(UserError, match=message):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_out_of_memory_before_the_first_step_is_one_message_too(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(regularizer, "collection_grams", too_much)
    settings = small_config(folders, "loss.style.layers=[relu1_2]")  # nothing kept of these
    with pytest.raises(UserError, match="out of memory: a step needs about"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_in_use_is_not_touched(folders: PhantomFolders, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(small_config(folders), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_pairs_give_paired_validation(folders: PhantomFolders, tmp_path: Path) -> None:
    settings = small_config(
        folders, f"data.pairs.folder={folders.pairs}", "training.steps=2", "training.seed=3"
    )
    (row,) = rows_of(train(settings, tmp_path / "run"))
    assert 0 < float(row["validation/psnr"]) < 60
    assert -1 <= float(row["validation/ssim"]) <= 1
    assert 0 < float(row["validation/mae"]) < 2


def test_switched_off_vgg_needs_no_weights(folders: PhantomFolders, tmp_path: Path) -> None:
    off = ("loss.perceptual.weight=0", "loss.perceptual.reconstruction_weight=0")
    settings = small_config(
        folders, *off, "loss.style.weight=0", "vgg.weights=/nowhere.pth", "training.steps=2"
    )
    assert not any("perceptual" in name for name in rows_of(train(settings, tmp_path / "run"))[0])


def test_reconstruction_gets_better(folders: PhantomFolders, tmp_path: Path) -> None:
    settings = small_config(
        folders,
        "training.steps=60",
        "logging.log_every=10",
        "training.validate_every=60",
        "loss.perceptual.weight=0",
        "loss.perceptual.reconstruction_weight=0",
        "loss.style.weight=0",
        "generator.ngf=8",
    )
    rows = rows_of(train(settings, tmp_path / "run"))
    assert float(rows[-1]["loss/cycle_scan"]) < 0.7 * float(rows[0]["loss/cycle_scan"])
    assert float(rows[-1]["loss/identity_style"]) < 0.7 * float(rows[0]["loss/identity_style"])


def test_one_line_says_what_was_found_and_what_will_be_done(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    lines: list[str] = []
    train(small_config(folders, "training.steps=1"), tmp_path / "run", announce=lines.append)
    line, memory = lines
    assert memory.startswith("a step needs about ")
    assert "2 scans of 2 subjects" in line
    assert "cyclegan" in line
    assert "step 1" in line
    # By the kernel, which knows the processor as well as torch does.
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    native = "avx512_bf16" in told or "amx_bf16" in told
    if told and not torch.cuda.is_available():
        assert f"{'bf16' if native else 'fp32'} on cpu (auto: it has " in line
        assert f"(auto: it has {'' if native else 'no '}native bf16)" in line


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)]
)
def test_a_signal_writes_a_checkpoint_tells_its_exit_code_and_how_to_go_on(
    folders: PhantomFolders, tmp_path: Path, number: int, code: int
) -> None:
    settings = small_config(folders, "training.steps=100000")
    config = tmp_path / "config.yaml"
    from medstyle_gan.config import dump_config

    config.write_text(dump_config(settings))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "medstyle_gan", "train", "--config", str(config)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "-o", str(out)], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    try:
        while not (out / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()  # a test that failed leaves no training behind
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert f"medstyle train --resume -o {out}" in errors
    step = load_checkpoint(out / "checkpoints" / "last.ckpt")["step"]
    assert step >= 3
    assert not (out / "model").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_clipped_for_each_optimiser(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    from medstyle_gan.methods import CycleGAN

    norms: list[float] = []
    step = CycleGAN.training_step

    def watched_step(self: CycleGAN, batch: dict[str, Any], index: int) -> None:
        step(self, batch, index)
        for networks in (self.generators, self.discriminators):
            gradients = [
                p.grad.flatten()
                for network in networks.values()
                for p in network.parameters()
                if p.grad is not None
            ]
            norms.append(float(torch.cat(gradients).norm()))

    monkeypatch.setattr(CycleGAN, "training_step", watched_step)
    settings = small_config(
        folders,
        "training.steps=2",
        "method.gradient_clip=0.01",
        f"training.precision={precision}",
    )
    train(settings, tmp_path / "run")
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)


def test_diverged_training_says_so_and_saves_nothing(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    # Finite gradients, and steps that leave the numbers there are.
    rate = "method.generator_learning_rate=1e39"
    settings = small_config(folders, rate, "training.validate_every=100")
    with pytest.raises(UserError, match="diverged"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
