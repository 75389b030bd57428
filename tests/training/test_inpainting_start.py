from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.data.pseudo_pairs import make_pseudo_pairs
from medstyle_gan.inference import load_bundle
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import train
from tests.training.small import (
    NO_VGG,
    SMALL,
    assert_same_weights,
    collections,
    killed_at,
    make_config,
    rows_of,
)

STEPS, WARM = 4, 2


def _config(folders: PhantomFolders, *overrides: str) -> Config:
    settings = {
        **SMALL,
        **NO_VGG,
        **collections(folders),
        "training.steps": STEPS,
        "training.checkpoint_every": 1,
        "training.accelerator": "cpu",
        "training.precision": "fp32",
        "training.warm_start.name": "inpainting",
        "training.warm_start.steps": WARM,
        "logging.log_every": 1,
        "guards.check_every": 1,
    }
    return make_config(settings, *overrides)


@pytest.fixture(scope="module")
def run(folders: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    said: list[str] = []
    patch = pytest.MonkeyPatch()
    with patch.context() as nothing_registered:
        nothing_registered.setattr(
            f"medstyle_gan.data.datamodule.{make_pseudo_pairs.__name__}", None
        )
        out = tmp_path_factory.mktemp("holes") / "run"
        train(_config(folders), out, announce=said.append)
    return out, "\n".join(said)


def test_a_run_tells_of_its_start_and_logs_both_parts(run: tuple[Path, str]) -> None:
    out, said = run
    assert f"the first {WARM} steps are a warm start on images with holes" in said
    rows = rows_of(out)
    warm = [bool(row["loss/inpainting_scan_to_style"]) for row in rows]
    assert warm == [step < WARM for step in range(STEPS)]
    assert [bool(row["loss/cycle_scan"]) for row in rows] == [not w for w in warm]
    assert load_bundle(out).intensity_map is None


@pytest.mark.parametrize("killed_before", [1, WARM])
def test_a_killed_start_ends_bit_for_bit_as_one_that_ran_through(
    killed_before: int, run: tuple[Path, str], folders: PhantomFolders, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with killed_at(killed_before):
        train(_config(folders), out)
    train(_config(folders), out, resume=True)
    assert_same_weights(run[0], out)


@pytest.mark.parametrize("dims", ["2.5", "3"])
def test_slabs_and_patches_can_begin_so(dims: str, folders: PhantomFolders, tmp_path: Path) -> None:
    more = [f"data.dims={dims}", "training.steps=2", "training.warm_start.steps=1"]
    if dims == "3":
        more += ["data.spacing=[5,5,5]", "data.sample_size=[16,16,16]"]
    out = train(_config(folders, *more), tmp_path / "run")
    first, second = rows_of(out)
    assert float(first["loss/inpainting_style_to_scan"]) > 0
    assert not second["loss/inpainting_style_to_scan"]


def _copied(self: CycleGAN, images: Tensor, *how: object, **more: object) -> Tensor:
    return images


@pytest.mark.parametrize(("steps", "told"), [(0, 2), (3, 0)])
def test_generators_that_are_to_give_back_their_input_are_not_warned_of(
    steps: int,
    told: int,
    folders: PhantomFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CycleGAN, "translate", _copied)
    watched = ["guards.warm_up=0", "guards.patience=2", "guards.discriminator_gave_up=-9"]
    lines: list[str] = []
    config = _config(folders, f"training.warm_start.steps={steps}", *watched)
    train(config, tmp_path / "run", announce=lines.append)
    assert sum("hardly changes its input" in line for line in lines) == told
