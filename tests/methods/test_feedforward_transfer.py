from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import FeedForwardTransfer, Guidance
from medstyle_gan.networks import ResNetGenerator, adapt_channels
from tests.methods.learned_styles import pictures


def transfer(taken: int = 1, given: int = 3) -> FeedForwardTransfer:
    torch.manual_seed(0)
    generator = ResNetGenerator(taken, given, ngf=4, blocks=1).eval()
    return FeedForwardTransfer(generator, taken, given)


@pytest.mark.parametrize("taken", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_one_pass_of_the_network_in_its_channels(taken: int, channels: int) -> None:
    method, image = transfer(taken), pictures(0, channels)
    result = method(image, [])
    torch.testing.assert_close(result, method.generator(adapt_channels(image, taken)))
    assert not result.requires_grad


def test_sizes_are_filled_up_by_reflection_and_cut_again() -> None:
    method, image = transfer(), pictures(0, size=(18, 33))
    expected = method.generator(F.pad(image, (1, 2, 1, 1), mode="reflect"))
    torch.testing.assert_close(method(image, []), expected[..., 1:19, 1:34])


def test_regions_are_left_to_who_calls() -> None:
    method, image = transfer(), pictures(0)
    region = Guidance(regions=[torch.zeros(1, 1, 32, 32)])
    assert torch.equal(method(image, [], region), method(image, []))


@dataclass(frozen=True)
class Model:
    """What a training left, in memory."""

    config: Config
    state: dict[str, Tensor]
    channels: dict[str, int] = field(default_factory=lambda: {"scan": 1, "style": 3})
    vgg: str | None = None

    def generator_state(self, direction: str) -> dict[str, Tensor]:
        assert direction == "scan_to_style"
        return self.state


def model(*overrides: str) -> Model:
    settings = ["method.name=feedforward", "generator.ngf=4", "generator.blocks=1", *overrides]
    return Model(load_config(None, settings), transfer().generator.state_dict())


def test_it_is_built_from_what_a_training_left() -> None:
    trained, image = model(), pictures(0)
    built = FeedForwardTransfer.build(trained.config, torch.device("cpu"), trained)
    # Of bfloat16, where the machine has it.
    torch.testing.assert_close(built(image, []), transfer()(image, []), rtol=0, atol=0.05)
    assert built.channels == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.dims=2.5", "use medstyle translate"),
        ("generator.ngf=8", "do not fit its own config"),
    ],
)
def test_models_of_other_samples_or_networks_are_refused(override: str, words: str) -> None:
    trained = model(override)
    with pytest.raises(UserError, match=words):
        FeedForwardTransfer.build(trained.config, torch.device("cpu"), trained)


def test_small_pictures_are_told_the_least_size() -> None:
    assert transfer().minimum_size == 8
    with pytest.raises(UserError, match=r"7x40 is too small.*8 pixels"):
        transfer().encode_content(pictures(0, size=(7, 40)))
