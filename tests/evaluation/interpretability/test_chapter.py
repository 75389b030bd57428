from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.evaluation import interpretability
from medstyle_gan.evaluation.chapter import Chapter, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.inference import Translator
from tests.evaluation import looking_at_phantoms as phantoms

STEP = 0.03


class Mapped(nn.Module):
    """A generator that applies a fixed map to every pixel."""

    divisor = 4

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Shading(nn.Module):
    """Smooths, and brightens one side: mirrored scans come out otherwise."""

    divisor = 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(0, 0.3, x.shape[-2]).view(-1, 1)
        return nn.functional.avg_pool2d(-x, 3, stride=1, padding=1) + ramp


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(
        options={
            "data.sample_size": [64, 64],
            "data.spacing": [3.2, 3.2, 3.0],
            "vgg.weights": "random:0",
        }
    )


def translator(config: Config, forward: nn.Module, backward: nn.Module) -> Translator:
    scale = FittedScale(center=500.0, half_range=500.0, clip=True)
    return Translator.from_generators(
        config,
        {"scan_to_style": forward.eval(), "style_to_scan": backward.eval()},
        scales={"scan": scale, "style": scale},
        channels={"scan": 1, "style": 1},
        integer={"scan": False, "style": False},
        background={"scan": 0.0, "style": 0.0},
        precision="fp32",
    )


def apply(model: nn.Module):
    """The candidate that a generator of slices is."""

    def translate(scan, mask):
        with torch.no_grad():
            slices = torch.from_numpy(np.moveaxis(scan, 2, 0)[:, None].copy())
            made = np.moveaxis(model(slices)[:, 0].numpy(), 0, 2)
        return np.where(mask, made, np.float32(-1)).astype(np.float32)

    return translate


def blind(subject: Subject) -> Subject:
    """The subject without truth and labels."""
    return Subject(subject.name, subject.scan, subject.mask, True, subject.spacing)


METRICS = [
    {"step": step, "loss/generator": 3.0, "loss/cycle_scan": 0.5 / step, "loss/identity_scan": 0.1}
    for step in (1, 2, 3, 4)
]


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [phantoms.subject(1), phantoms.subject(2)]


@pytest.fixture(scope="module")
def chapter(config, subjects) -> Chapter:
    forward = Shading()
    context = EvaluationContext(
        config,
        translator(config, forward, Mapped(lambda x: -x)),
        quick=True,
        metrics=METRICS,
    )
    candidates = {"translation": apply(forward), "doing_nothing": lambda scan, mask: scan}
    return interpretability.run(subjects, candidates, context)


def test_everything_that_can_be_known_is_told(chapter):
    names = {figure.name for figure in chapter.figures}
    assert names == {
        *("intensity_explained", "uncertainty_correlation", "uncertainty_miscalibration"),
        *("cycle_collapse", "cycle_noise_gain", "gradient_reach", "occlusion_reach", "loss_share"),
    }
    assert all(np.isfinite(figure.value) for figure in chapter.figures)
    keys = [(f.name, f.candidate, f.subject, *sorted(f.of.items())) for f in chapter.figures]
    assert len(keys) == len(set(keys))


def test_pictures_are_opaque_and_described(chapter):
    assert [picture.name for picture in chapter.pictures] == [
        *("difference_maps", "attribution", "intensity_maps", "cycle_under_noise"),
        *("uncertainty", "loss_shares"),
    ]
    for picture in chapter.pictures:
        image = Image.open(BytesIO(picture.png)).convert("RGBA")
        assert np.asarray(image)[..., 3].min() == 255
        assert picture.caption
        assert picture.alt


def test_a_reference_is_explained_by_intensities_and_a_filter_is_not(chapter):
    explained = phantoms.means(chapter, "intensity_explained")
    assert explained["doing_nothing"] > 0.99 > explained["translation"]
    labelled = {f.of["region"] for f in chapter.figures if "region" in f.of}
    assert {"4", "5", "6"} <= labelled  # fluid, grey and white matter


def test_the_gradient_of_a_small_filter_is_near(chapter):
    # Half the diagonal of a region of 7 pixels under a mean over 3, in mm.
    assert phantoms.means(chapter, "gradient_reach")["translation"] < 4.5 * np.sqrt(2) * 3.2


def test_the_cycles_error_is_no_figure(chapter):
    assert not any("cycle_error" in f.name or "reconstruction" in f.name for f in chapter.figures)
    assert any("says nothing of the translation" in note for note in chapter.notes)


@pytest.mark.parametrize(
    ("forward", "backward", "hides"),
    [
        (lambda x: STEP * (x + 1) / 2 + 0.3, lambda x: (x - 0.3) / STEP * 2 - 1, True),
        (lambda x: -x, lambda x: -x, False),
    ],
    ids=["hiding", "honest"],
)
def test_a_cycle_that_hides_is_caught(config, subjects, forward, backward, hides: bool):
    forward, backward = Mapped(forward), Mapped(lambda x, f=backward: f(x).clamp(-1, 1))
    context = EvaluationContext(config, translator(config, forward, backward), quick=True)
    candidates = {"translation": apply(forward)}
    found = interpretability.run([blind(subjects[0])], candidates, context)
    collapse = phantoms.means(found, "cycle_collapse")["translation"]
    assert collapse > 0.5 if hides else collapse < 0.1


def test_functions_without_a_network_say_what_is_missing(config, subjects):
    truth = phantoms.true_mapping(subjects)
    alone = [blind(subjects[0])]
    found = interpretability.run(alone, {"translation": truth}, EvaluationContext(config))
    assert {f.name for f in found.figures} == {"intensity_explained"}
    told = " ".join(found.notes)
    for missing in ("way back", "needs the network", "needs pairs", "no run"):
        assert missing in told


@pytest.mark.parametrize("voxel", [(64, 0, 0), (0, -1, 0)])
def test_a_voxel_outside_the_scan_is_refused(config, subjects, voxel):
    context = EvaluationContext(config)
    with pytest.raises(ValueError, match="outside"):
        interpretability.run(subjects, {"translation": lambda s, m: s}, context, voxel)
