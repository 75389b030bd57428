from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.inference import load_bundle
from medstyle_gan.methods import CycleGAN
from medstyle_gan.networks.resnet import ResNetGenerator
from medstyle_gan.training import train
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.guards import Guards
from medstyle_gan.training.throughput import Throughput
from tests.training.small import NO_VGG, SMALL, collections, killed_at, make_config, rows_of

FAST = ("method.generator_learning_rate=3e-3", "method.discriminator_learning_rate=3e-3")


def settings(folders: PhantomFolders, *overrides: str) -> Config:
    own = {
        **collections(folders),
        **SMALL,
        **NO_VGG,
        "discriminator.ndf": 8,
        "method.ema_decay": 0.9,
        "method.constant_fraction": 1,
        "training.precision": "fp32",
        "training.steps": 60,
        "training.validate_every": 1000,
        "logging.log_every": 10,
        "logging.panel_every": 1000,
        "guards.check_every": 10,
        "guards.patience": 2,
    }
    return make_config(own, *overrides)


def told(config: Config, out: Path) -> list[str]:
    """What the guards say in a training."""
    lines: list[str] = []
    train(config, out, announce=lines.append)
    return [line for line in lines if line.startswith("guard: ")]


# ---------------------------------------------------------------------------- generators


def test_generators_that_only_copy_are_told_once_each(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small a network would need thousands of steps to copy; one that adds to its input
    # learns within a few dozen to add nothing.
    forward = ResNetGenerator.forward
    monkeypatch.setattr(ResNetGenerator, "forward", lambda self, x: x + 0.5 * forward(self, x))
    copying = ("loss.adversarial.weight=0", "loss.cycle.weight=100", "loss.identity.weight=100")
    config = settings(folders, *copying, *FAST, "training.steps=100")
    lines = told(config, tmp_path / "run")
    assert len(lines) == 2
    for line, direction in zip(lines, ("scan_to_style", "style_to_scan"), strict=True):
        assert f"{direction} hardly changes its input" in line
        assert "loss.identity.weight" in line
    # No discriminator is trained, so none is judged.
    assert float(rows_of(tmp_path / "run")[-1]["guard/movement_scan_to_style"]) < 0.2
    assert "guard/advantage_style" not in rows_of(tmp_path / "run")[-1]


def negate(self: CycleGAN, images: Tensor, *how: object, **more: object) -> Tensor:
    return -images


@pytest.mark.parametrize(("order", "lines"), [("keeps", 2), ("may_change", 0)])
def test_contrast_turned_over_is_told_where_it_must_keep_its_order(
    order: str,
    lines: int,
    folders: PhantomFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CycleGAN, "translate", negate)
    config = settings(folders, f"guards.contrast_order={order}", "guards.discriminator_gave_up=-9")
    heard = told(config, tmp_path / "run")
    assert sum("turns the contrast over" in line for line in heard) == len(heard) == lines
    row = rows_of(tmp_path / "run")[-1]
    assert float(row["guard/rank_correlation_scan_to_style"]) == pytest.approx(-1)


def test_nothing_is_told_in_the_warm_up_nor_before_looks_agree(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CycleGAN, "translate", negate)
    keeps = ("guards.contrast_order=keeps", "guards.discriminator_gave_up=-9")
    warm = settings(folders, *keeps, "guards.warm_up=0.9")  # one look is left, at step 60
    assert not told(warm, tmp_path / "warm")
    patient = settings(folders, *keeps, "guards.warm_up=0", "guards.patience=7")  # of six looks
    assert not told(patient, tmp_path / "patient")


# ------------------------------------------------------------------------ discriminators


@pytest.mark.parametrize("form", ["least_squares", "hinge", "vanilla"])
def test_a_discriminator_that_tells_all_apart_is_told(
    form: str, folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Generators that always give a white image: trivially told from heads.
    forward = ResNetGenerator.forward
    monkeypatch.setattr(ResNetGenerator, "forward", lambda self, x: 0 * forward(self, x) + 0.9)
    fast = "method.discriminator_learning_rate=5e-3"
    config = settings(folders, f"loss.adversarial.name={form}", fast, "training.steps=80")
    lines = told(config, tmp_path / "run")
    for domain in ("scan", "style"):
        assert sum(f"{domain} discriminator wins completely" in line for line in lines) == 1, lines
    assert len(lines) == 2
    assert float(rows_of(tmp_path / "run")[-1]["guard/advantage_style"]) > 0.9


@pytest.mark.parametrize("form", ["least_squares", "hinge", "vanilla"])
def test_a_discriminator_without_opinion_is_told(
    form: str, folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: CycleGAN) -> None:
        for discriminator in self.discriminators.values():
            for parameter in discriminator.parameters():
                torch.nn.init.zeros_(parameter)

    monkeypatch.setattr(CycleGAN, "on_train_start", silent)
    dead = "method.discriminator_learning_rate=1e-12"
    lines = told(settings(folders, f"loss.adversarial.name={form}", dead), tmp_path / "run")
    assert sorted("does not tell translations" in line for line in lines) == [True, True], lines


@pytest.mark.parametrize(
    ("advantage", "penalty", "verdict"),
    [
        (50.0, 0.1, (False, False)),  # a large distance is no mistake of a Wasserstein critic
        (50.0, 4.0, (True, False)),
        (0.5, 0.1, (False, False)),
        (-0.5, 0.1, (False, True)),
    ],
)
def test_a_critic_is_judged_by_its_slope_and_sign(
    advantage: float, penalty: float, verdict: tuple[bool, bool]
) -> None:
    assert guards("loss.adversarial.name=wgan_gp")._verdicts(advantage, penalty) == verdict


def test_healthy_training_says_nothing(folders: PhantomFolders, tmp_path: Path) -> None:
    assert told(settings(folders, "training.steps=80"), tmp_path / "run") == []


# ---------------------------------------------------------------------------- non-finite


def guards(*overrides: str, lines: list[str] | None = None, last: Path = Path("none")) -> Guards:
    config = load_config(None, ["guards.enabled=false", *overrides])
    announce = None if lines is None else lines.append
    return Guards(config, {}, last, Throughput(), announce)


class Counted:
    """A method as the guards see it; not finite at the given steps."""

    def __init__(self) -> None:
        self.step = self.skipped = self.skipped_in_a_row = 0
        self.logged: dict[str, Tensor] = {}

    def run(self, watch: Guards, steps: str) -> None:
        for finite in steps:
            self.step += 1
            self.skipped += finite == "x"
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if finite == "x" else 0
            watch.on_train_batch_end(Any, self, None, None, 0)  # type: ignore[arg-type]


def test_a_step_that_is_not_finite_is_told_once_and_counted() -> None:
    lines: list[str] = []
    watch = guards("guards.skipped_in_a_row=3", lines=lines)
    Counted().run(watch, "..xx.xx.xx.")
    assert len(lines) == 1
    assert "by step 3 losses or gradients of 1 steps were not finite" in lines[0]
    assert watch.figures() == {"guard/skipped": 5}  # read at steps 3, 6 and 9


def test_too_many_in_a_row_end_the_training(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    last.touch()
    method = Counted()
    with pytest.raises(UserError, match=r"diverged before step 6: .*last 3 steps.*is kept"):
        method.run(guards("guards.skipped_in_a_row=3", last=last), "xx.xxxxxx")
    assert method.step == 6


def test_a_training_shorter_than_the_limit_that_never_stepped_has_diverged() -> None:
    with pytest.raises(UserError, match="diverged before step 4"):
        Counted().run(guards("training.steps=4"), "xxxx")


def test_a_training_whose_losses_are_infinite_keeps_its_weights_and_its_last_checkpoint(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    infinite = ("loss.cycle.weight=1e39", "guards.skipped_in_a_row=6")
    config = settings(folders, *infinite, "training.checkpoint_every=5")
    with pytest.raises(UserError, match=r"diverged before step 6: .*last 6 steps.*last.ckpt"):
        train(config, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert state["step"] == 5
    assert all(w.isfinite().all() for w in state["networks"]["scan_to_style"].values())
    assert not (tmp_path / "run" / "model").exists()


# ----------------------------------------------------------------------------- the rest


def test_guards_change_no_weight(folders: PhantomFolders, tmp_path: Path) -> None:
    states = []
    for enabled in ("true", "false"):
        config = settings(
            folders, f"guards.enabled={enabled}", "guards.check_every=1", "training.steps=12"
        )
        states.append(load_bundle(train(config, tmp_path / enabled)).state)
    with_guards, without = states
    assert with_guards.keys() == without.keys()
    assert all(torch.equal(with_guards[name], without[name]) for name in without)
    assert "guard/movement_scan_to_style" in rows_of(tmp_path / "true")[0]
    assert "guard/movement_scan_to_style" not in rows_of(tmp_path / "false")[0]


def test_a_resumed_training_goes_on_where_its_guards_were(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    # Both discriminators are silent, so that something is told: before the stop, and not again.
    eager = ("guards.discriminator_won=-9", "guards.check_every=4", "guards.warm_up=0")
    config = settings(
        folders, *eager, "training.steps=24", "training.checkpoint_every=14", "logging.log_every=6"
    )
    through = told(config, tmp_path / "through")
    assert len(through) >= 2
    lines: list[str] = []
    with killed_at(15):
        train(config, tmp_path / "run", announce=lines.append)
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["guards"]
    torch.save(state, buffer := io.BytesIO())
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True) == state
    train(config, tmp_path / "run", resume=True, announce=lines.append)
    assert [line for line in lines if line.startswith("guard: ")] == through
    for ours, theirs in zip(rows_of(tmp_path / "through"), rows_of(tmp_path / "run"), strict=True):
        names = [name for name in ours if name.startswith("guard/")]
        assert len(names) == 7
        assert [ours[name] for name in names] == [theirs[name] for name in names]
