from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medstyle_gan.errors import UserError
from medstyle_gan.inference import Bundle, Translator
from medstyle_gan.volumes import Geometry, Volume

from .conftest import ellipsoid, facts, identity_translator, make_bundle, make_config, textured_body

SHAPE = (20, 16, 6)


def volume_of(array: np.ndarray) -> Volume:
    geometry = Geometry.from_affine(array.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    return Volume(array=array, geometry=geometry, dtype=array.dtype, integer=False, path=None)


def save_checkpoint(folder: Path, bundle: Bundle, step: int, ema: bool = True) -> None:
    """A checkpoint with a bundle's generators as the moving average (or not)."""
    generators = {d: bundle.generator_state(d) for d in ("scan_to_style", "style_to_scan")}
    zeros = {d: {n: torch.zeros_like(t) for n, t in g.items()} for d, g in generators.items()}
    state = {
        "step": step,
        "networks": zeros if ema else generators,
        "ema": {"generators": generators if ema else zeros},
    }
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / f"step_{step:08d}.ckpt")


class Ramp(nn.Module):
    """Adds up to `height` along the rows of an image."""

    divisor = 1
    height = 0.2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.height * torch.linspace(0, 1, x.shape[2])[:, None]


def test_spread_over_a_flip_is_that_of_the_two_translations() -> None:
    generators = {"scan_to_style": Ramp(), "style_to_scan": Ramp()}
    translator = Translator.from_generators(make_config(), generators, **facts())
    volume = volume_of(textured_body(SHAPE).astype(np.float32))
    translation = translator.translate(volume, uncertainty=True)
    spread = translation.uncertainty
    assert spread is not None
    assert spread.geometry is volume.geometry
    assert spread.array.dtype == np.float32
    # The ramps of both differ by 0.2 |2t - 1|, two values' deviation is that / √2, and the
    # scale's half range is 500.
    ramp = np.linspace(0, 1, SHAPE[0])[:, None, None]
    expected = np.broadcast_to(0.2 * np.abs(2 * ramp - 1) / np.sqrt(2) * 500, SHAPE)
    inside = translation.image.array != 0
    assert inside[ellipsoid(SHAPE)].mean() > 0.9
    np.testing.assert_allclose(spread.array[inside], expected[inside], atol=1e-2)
    assert not spread.array[~inside].any()


@pytest.mark.parametrize("flips", [(), ("anterior_posterior",)])
def test_the_translation_itself_is_the_one_without_the_uncertainty(flips: tuple[str, ...]) -> None:
    bundle = make_bundle(make_config(inference={"flips": flips, "dtype": "float32"}))
    translator = Translator.load(bundle, device="cpu", precision="fp32")
    volume = volume_of(textured_body(SHAPE).astype(np.float32))
    alone, beside = translator.translate(volume), translator.translate(volume, uncertainty=True)
    assert alone.uncertainty is None
    assert beside.uncertainty is not None
    np.testing.assert_array_equal(beside.image.array, alone.image.array)


@pytest.mark.parametrize("ema", [True, False])
def test_earlier_checkpoints_are_members(tmp_path: Path, ema: bool) -> None:
    config = make_config(inference={"ema": ema, "dtype": "float32"})
    members = [make_bundle(config, seed) for seed in range(3)]
    for step, member in zip((7, 5, 6), members, strict=True):  # 7: the model's own step
        save_checkpoint(tmp_path / "checkpoints", member, step, ema)
    model = replace(members[0], folder=tmp_path / "model")
    volume = volume_of(textured_body(SHAPE).astype(np.float32))
    spread = Translator.load(model, "cpu", "fp32").translate(volume, uncertainty=True).uncertainty
    assert spread is not None
    values = []
    for member in members:
        translator = Translator.load(member, "cpu", "fp32")
        flipped = volume_of(np.ascontiguousarray(volume.array[::-1]))
        values += [translator(volume).array, translator(flipped).array[::-1]]
    np.testing.assert_allclose(spread.array, np.std(values, axis=0, ddof=1), rtol=1e-3, atol=0.02)
    assert spread.array.max() > 1


def test_colour_has_one_uncertainty_for_its_three_channels() -> None:
    bundle = make_bundle(channels={"style": 3}, pictures={"style": True})
    translation = Translator.load(bundle, "cpu", "fp32").translate(
        volume_of(textured_body(SHAPE)), uncertainty=True
    )
    assert translation.image.array.shape == (*SHAPE, 3)
    assert translation.uncertainty is not None
    assert translation.uncertainty.array.shape == SHAPE
    assert translation.uncertainty.array.max() > 0


def test_a_single_translation_has_no_uncertainty() -> None:
    native = make_config().data.model_dump()
    translator = identity_translator(make_config(data={**native, "plane": "sagittal"}))
    volume = volume_of(textured_body(SHAPE))
    with pytest.raises(UserError, match=r"inference\.flips=\[anterior_posterior\]"):
        translator.translate(volume, uncertainty=True)


def _not_torchs(path: Path) -> None:
    path.write_bytes(b"no checkpoint")


def _without_generators(path: Path) -> None:
    torch.save({"step": 1, "networks": {}, "ema": {"generators": {}}}, path)


@pytest.mark.parametrize("spoil", [_not_torchs, _without_generators])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, spoil: Any) -> None:
    (tmp_path / "checkpoints").mkdir()
    spoil(tmp_path / "checkpoints" / "step_00000001.ckpt")
    translator = Translator.load(replace(make_bundle(), folder=tmp_path / "model"))
    with pytest.raises(UserError, match=r"step_00000001\.ckpt: not a readable checkpoint"):
        translator.translate(volume_of(textured_body(SHAPE)), uncertainty=True)
