"""Pairs that do not align: what is recovered of a known deformation, and what is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from medstyle_gan.config.registration_section import RegistrationLossConfig
from medstyle_gan.methods.registration import registration_terms
from medstyle_gan.networks import DeformationNetwork, parameters_of
from tests.methods.training_steps import NO_VGG, fit, images, made, settings

PAIRED = ("data.pairing=subject", "loss.registration.weight=20", "registration.levels=2")


def _batch(seed: int) -> dict[str, torch.Tensor]:
    batch = images(seed)
    return {**batch, "pair_weight": torch.ones_like(batch["scan"])}


def test_a_known_smooth_displacement_is_recovered() -> None:
    rng, size = np.random.default_rng(0), 48
    moving = gaussian_filter(rng.standard_normal((size, size)), 2.0)
    moving /= np.abs(moving).max()
    places = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    turns = 2 * np.pi * places / size
    moves = np.stack([2.0 * np.sin(turns[1]), 1.5 * np.cos(turns[0]) - 0.5])
    still = map_coordinates(moving, places + moves, order=1, mode="nearest")
    real, translated = (
        {"style": torch.tensor(x, dtype=torch.float32)[None, None]} for x in (still, moving)
    )
    torch.manual_seed(0)
    network = DeformationNetwork(2, width=8, levels=3)
    config = RegistrationLossConfig(weight=20, smoothness=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        terms = registration_terms(config, network, real, translated, None)
        sum(t.weight * t.value for t in terms.values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = network(translated["style"], real["style"])[0].numpy()
    inner = (slice(None), slice(5, -5), slice(5, -5))
    wrong = np.sqrt(((found - moves) ** 2).sum(axis=0))[inner[1:]]
    assert np.sqrt((moves[inner] ** 2).sum(axis=0)).mean() > 1.5
    assert wrong.mean() < 0.3


def test_only_what_the_style_volume_shows_is_compared() -> None:
    made_, wanted = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    wanted[..., 2:] = 9.0
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:] = 0.9  # some of the outside is mixed in
    config = RegistrationLossConfig(weight=2, deform=False)
    terms = registration_terms(config, None, {"style": wanted}, {"style": made_}, weight)
    assert list(terms) == ["registration_scan_to_style"]
    assert terms["registration_scan_to_style"].value == 1
    assert terms["registration_scan_to_style"].weight == 2
    off = RegistrationLossConfig()
    assert registration_terms(off, None, {"style": wanted}, {"style": made_}, weight) == {}


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_every_parameter_gets_a_gradient_and_the_average_is_of_generators(method: str) -> None:
    config = settings(*NO_VGG, *PAIRED, f"method.name={method}")
    network = made(config)
    assert "registration_network" in network.trained_networks()
    assert all("registration" not in name for name in network.ema.generators)
    watch = fit(network, [_batch(0), _batch(1)])
    trained = parameters_of(network.trained_networks().values())
    assert all(p.grad is not None for p in trained)
    last = watch.gradients[-1]
    assert any(last[n].any() for n in last if n.startswith("registration_network."))
    first, second = (s["weights"]["registration_network.last.weight"] for s in watch.snapshots)
    assert not torch.equal(first, second)
    assert watch.logged[0]["loss/registration_roughness"] < 1e-6


def test_networks_begin_as_they_do_without() -> None:
    with_it, without = made(settings(*NO_VGG, *PAIRED)), made(settings(*NO_VGG))
    theirs = without.state_dict()
    assert all(torch.equal(with_it.state_dict()[name], theirs[name]) for name in theirs)
    assert without.registration_network is None
    aligned = made(settings(*NO_VGG, *PAIRED, "loss.registration.deform=false"))
    assert aligned.trained_networks().keys() == without.trained_networks().keys()


def test_slices_of_a_stack_are_deformed_alike() -> None:
    """A 2.5-D image has three slices as channels, and one deformation in their plane."""
    torch.manual_seed(0)
    network = DeformationNetwork(6, width=4, levels=2)
    slice_ = torch.randn(1, 1, 12, 12)
    stack = {"style": slice_.expand(-1, 3, -1, -1)}
    terms = registration_terms(
        RegistrationLossConfig(weight=1), network, stack, stack, torch.ones(1, 3, 12, 12)
    )
    assert terms["registration_scan_to_style"].value < 1e-3
