from __future__ import annotations

from typing import Any

import pytest
import torch

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import memory

GREY = {"scan": 1, "style": 1}
NO_VGG = (
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
)
CPU = torch.device("cpu")


def config(*overrides: str) -> Config:
    small = ["generator.ngf=8", "generator.blocks=4", "discriminator.ndf=8"]
    sizes = ["data.sample_size=[64,64]", "method.pool_size=0"]
    return load_config(None, [*small, *sizes, "vgg.weights=random:0", *overrides])


def bytes_of(*overrides: str) -> int:
    return memory.step_bytes(config(*overrides), GREY, "fp32")


PATCHES = ("data.dims=3", "data.spacing=[1,1,1]", "data.sample_size=[24,32,40]")


@pytest.mark.parametrize("more", [(), PATCHES, ("generator.name=switchable",)])
def test_estimate_is_what_a_real_step_keeps(more: tuple[str, ...]) -> None:
    """Against the storages that autograd keeps in a pass with data, and what training adds."""
    settings = config(*NO_VGG, *more)
    method = CycleGAN(settings)
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    real = {d: torch.rand(1, 1, *settings.data.sample_size) for d in GREY}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept_alive, translated = method.generator_terms(real)
        kept_alive |= method.discriminator_terms(real, translated)
    weights = [p for p in method.parameters() if p.untyped_storage().data_ptr() not in kept]
    for tensor in [*weights, *real.values()]:
        keep(tensor)
    own = sum(p.nbytes for p in method.parameters())
    generators = sum(p.nbytes for n, p in method.named_parameters() if "discriminator" not in n)
    expected = sum(s.nbytes() for s in kept.values()) + 3 * own + generators
    assert bytes_of(*NO_VGG, *more) == pytest.approx(expected, rel=0.02)


def test_estimate_follows_what_the_vgg_sees() -> None:
    def vgg(*overrides: str) -> int:
        return bytes_of(*overrides) - bytes_of(*overrides, *NO_VGG)

    small = vgg("data.sample_size=[32,32]")
    assert vgg() > 1.2 * small  # its weights are in both
    for override in ("vgg.crop=32", "vgg.scale=0.5"):
        assert vgg(override) == pytest.approx(small, rel=0.02)


def test_no_smaller_samples_than_the_crop_are_proposed() -> None:
    def sizes(*overrides: str) -> list[int]:
        ways = memory.settings_that_save(config("data.sample_size=[128,128]", *overrides))
        return [way["data.sample_size"][0] for way in ways if "data.sample_size" in way]

    assert min(sizes()) < 64
    assert min(sizes("vgg.crop=64")) == 64


def test_estimate_grows_with_the_batch_and_not_with_what_is_added_up() -> None:
    one, two, three = (bytes_of(f"training.batch_size={n}") for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one, rel=0.01)
    assert two > 1.3 * one
    assert bytes_of("training.accumulate=4") == one


def test_estimate_knows_pools_terms_and_blocks_computed_again() -> None:
    plain = bytes_of()
    assert bytes_of("method.pool_size=50") - plain == 50 * 2 * 64 * 64 * 4
    assert bytes_of(*NO_VGG) < plain
    assert bytes_of(*NO_VGG, "generator.checkpoint_activations=true") < bytes_of(*NO_VGG)


def test_estimating_touches_no_random_state() -> None:
    state = torch.get_rng_state()
    bytes_of()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("more", [(), (*NO_VGG, *PATCHES, "data.sample_size=[64,64,64]")])
def test_each_proposed_setting_is_a_config_that_needs_less(more: tuple[str, ...]) -> None:
    settings = config("training.batch_size=4", "training.accumulate=3", *more)
    now = memory.step_bytes(settings, GREY, "fp32")
    ways = memory.settings_that_save(settings)
    assert {"training.batch_size": 2, "training.accumulate": 6} in ways
    for way in ways:
        assert memory.step_bytes(memory._changed(settings, way), GREY, "fp32") < now
        batch = way.get("training.batch_size", 4) * way.get("training.accumulate", 3)
        assert batch == 12


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_names_three_settings_that_would_fit(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    settings = config("training.batch_size=8")
    there = memory.step_bytes(settings, GREY, "fp32")
    monkeypatch.setattr(memory, "memory_bytes", lambda device: there)
    with (
        pytest.raises(UserError) as caught,
        memory.explaining_out_of_memory(settings, GREY, "fp32", CPU),
    ):
        raise error
    lines = str(caught.value).splitlines()
    assert "out of memory" in lines[0]
    assert "training.batch_size=4 training.accumulate=2" in str(caught.value)
    assert len(lines) == 4
    for line in lines[1:]:
        fitting = config("training.batch_size=8", *line.split("(")[0].split())
        assert memory.step_bytes(fitting, GREY, "fp32") <= 0.85 * there


def test_a_real_lack_of_memory_is_one() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert memory.is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("no")])
def test_other_errors_pass_through(error: Exception) -> None:
    with (
        pytest.raises(type(error), match=str(error)),
        memory.explaining_out_of_memory(config(), GREY, "fp32", CPU),
    ):
        raise error


def test_a_step_that_may_not_fit_is_announced_with_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = config("training.batch_size=2")

    def said(there: float) -> Any:
        monkeypatch.setattr(memory, "memory_bytes", lambda device: int(there))
        return memory.describe_step(settings, GREY, "fp32", CPU)

    needed = memory.step_bytes(settings, GREY, "fp32")
    assert "\n" not in said(2 * needed)
    assert "would fit" in said(needed)
    assert "smaller networks" in said(needed / 1000)
