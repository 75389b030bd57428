from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.config import load_config
from medstyle_gan.evaluation import visual_effect
from medstyle_gan.evaluation.chapter import Chapter
from medstyle_gan.evaluation.context import EvaluationContext
from tests.evaluation import looking_at_phantoms as phantoms


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    config = load_config(options={"vgg.weights": "random:0"})
    style = [phantoms.real_volume(seed) for seed in (101, 102, 103)]
    return EvaluationContext(config, style=style, vgg=config.vgg, quick=True)


@pytest.fixture(scope="module")
def chapter(context: EvaluationContext) -> Chapter:
    subjects = [phantoms.subject(seed) for seed in (1, 2)]
    truth = phantoms.true_mapping(subjects)
    candidates = {
        "translation": truth,
        **phantoms.references(list(context.style)),
        "checkerboard_2": phantoms.spoiled(truth, phantoms.checkerboard(2)),
        "checkerboard_4": phantoms.spoiled(truth, phantoms.checkerboard(4)),
        "blurred": phantoms.spoiled(truth, phantoms.blurred),
        "inverted": phantoms.spoiled(truth, phantoms.inverted),
        "flickering": phantoms.spoiled(truth, phantoms.flickering),
    }
    return visual_effect.run(subjects, candidates, context)


DISTANCES = (
    *("sliced_wasserstein", "gram_distance", "intensity_distance"),
    *("spectrum_distance", "slice_spectrum_distance"),
)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_true_mapping_is_about_as_far_as_real_volumes_are_from_each_other(chapter, distance):
    times = phantoms.means(chapter, "times_real", distance=distance)
    assert times["translation"] < 2


@pytest.mark.parametrize("bad", ["doing_nothing", "percentile_matching", "inverted"])
def test_the_true_mapping_looks_more_real_than_another_contrast(chapter, bad: str):
    for distance in ("kid", "sliced_wasserstein", "frechet_distance"):
        values = phantoms.means(chapter, distance)
        assert values["translation"] < values[bad], distance


@pytest.mark.parametrize("bad", ["checkerboard_2", "checkerboard_4"])
def test_a_checkerboard_is_caught(chapter, bad: str):
    values = phantoms.means(chapter, "checkerboard")
    assert values[bad] > 8
    others = {name: value for name, value in values.items() if "checkerboard" not in name}
    assert max(others.values()) < 4


def test_blur_is_caught_by_the_spectrum(chapter):
    times = phantoms.means(chapter, "times_real", distance="spectrum_distance")
    assert times["blurred"] > 4 > 2 > times["translation"]


def test_inverted_contrast_is_caught_by_patches_and_intensities(chapter):
    for distance in ("sliced_wasserstein", "intensity_distance"):
        times = phantoms.means(chapter, "times_real", distance=distance)
        assert times["inverted"] > 3, distance


def test_flicker_is_caught_along_the_slices(chapter):
    consistency = phantoms.means(chapter, "slice_consistency")
    assert consistency["translation"] == pytest.approx(1, abs=0.15)
    assert consistency["flickering"] > 1.2
    spectra = phantoms.means(chapter, "slice_spectrum_distance")
    assert spectra["flickering"] > 1.5 * spectra["translation"]


def test_every_subject_and_candidate_has_every_figure(chapter):
    names = {f.name for f in chapter.figures if f.subject is not None}
    assert names == {"kid", *DISTANCES, "times_real", "checkerboard", "slice_consistency"}
    keys = [(f.name, f.candidate, f.subject, *sorted(f.of.items())) for f in chapter.figures]
    assert len(keys) == len(set(keys))
    assert all(np.isfinite(figure.value) for figure in chapter.figures)


def test_pictures_are_opaque_and_described(chapter):
    assert [p.name for p in chapter.pictures] == ["multiples", "spectra", "histograms", "slices"]
    for picture in chapter.pictures:
        image = Image.open(BytesIO(picture.png))
        assert np.asarray(image.convert("RGBA"))[..., 3].min() == 255
        assert picture.caption
        assert picture.alt


def test_without_style_volumes_the_truth_stands_for_them_each_time_alike():
    config = load_config(options={"vgg.weights": "random:0"})
    subjects = [phantoms.subject(1)]
    candidates = {"translation": phantoms.true_mapping(subjects)}
    context = EvaluationContext(config, vgg=config.vgg, quick=True)
    chapter, again = (visual_effect.run(subjects, candidates, context) for _ in range(2))
    assert chapter.figures == again.figures  # all draws are seeded
    assert any("same subjects" in note for note in chapter.notes)
    assert not [f for f in chapter.figures if f.name == "times_real"]
    assert phantoms.means(chapter, "intensity_distance")["translation"] == 0


def test_volumes_too_small_for_a_figure_say_so():
    config = load_config(options={"vgg.weights": "random:0"})
    whole = phantoms.subject(1)
    small = (slice(26, 38), slice(26, 38), slice(6, 10))
    cut = type(whole)(
        "small", whole.scan[small], whole.mask[small], True, whole.spacing, truth=whole.truth[small]
    )
    context = EvaluationContext(config, vgg=config.vgg)
    chapter = visual_effect.run([cut], {"translation": lambda scan, mask: scan}, context)
    assert np.isnan(phantoms.means(chapter, "checkerboard")["translation"])
    assert np.isnan(phantoms.means(chapter, "slice_spectrum_distance")["translation"])
    assert any("16 pixels" in note for note in chapter.notes)
    assert any("8 that overlap" in note for note in chapter.notes)


def test_no_real_volume_at_all_is_said():
    config = load_config(options={"vgg.weights": "random:0"})
    whole = phantoms.subject(1)
    blind = type(whole)("blind", whole.scan, whole.mask, True, whole.spacing)
    context = EvaluationContext(config, vgg=config.vgg)
    chapter = visual_effect.run([blind], {"translation": lambda scan, mask: scan}, context)
    assert not chapter.figures
    assert "no real style volume" in chapter.notes[0]
