"""The rules of `medstyle plan`, by table: facts in, values out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.training.planning import rules
from medstyle_gan.training.planning.facts import CollectionFacts, Machine, StepCost

GIB = 2.0**30
CPU = Machine("cpu", "a CPU", 2, 16 * GIB, True, {"fp32": 100.0, "bf16": 200.0})
GPU = Machine("cuda", "a GPU", 16, 80 * GIB, True, {"fp32": 5e4, "bf16": 5e5})
SMALL_GPU = replace(GPU, memory=8 * GIB)
HEAD = (155.0, 195.0, 145.0)
# Thick axial slices, as in routine MR.
T1 = CollectionFacts("scan", 30, 30, False, 1, False, (256, 256, 48), (0.9, 0.9, 3.0), HEAD, HEAD)
T2 = replace(T1, domain="style", voxels=(384, 384, 44), spacing=(0.6, 0.6, 3.3))
CUBIC = replace(T1, voxels=(192, 256, 256), spacing=(1.0, 1.0, 1.0))
CUBIC_T2 = replace(CUBIC, domain="style")
CORONAL = replace(T1, voxels=(256, 48, 256), spacing=(0.9, 3.0, 0.9))
DRAWINGS = CollectionFacts("style", 3, 3, pictures=True)
MOUSE = replace(
    T1, spacing=(0.05, 0.05, 0.5), body=(15.0, 20.0, 14.0), typical_body=(15.0, 20.0, 14.0)
)
CT = replace(CUBIC, hounsfield=True)


def few(facts: CollectionFacts, subjects: int = 4) -> CollectionFacts:
    return replace(facts, subjects=subjects, volumes=subjects)


@pytest.mark.parametrize(
    ("both", "machine", "method", "dims"),
    [
        ((T1, T2), GPU, "cyclegan", 2),  # thick slices
        ((CUBIC, CUBIC_T2), GPU, "cyclegan", 3),
        ((CUBIC, CUBIC_T2), GPU, "adain", 2),
        ((CUBIC, CUBIC_T2), SMALL_GPU, "cyclegan", 2.5),
        ((CUBIC, CUBIC_T2), CPU, "cyclegan", 2.5),
        ((CUBIC, few(CUBIC_T2)), GPU, "cyclegan", 2),
        ((CUBIC, T2), GPU, "cyclegan", 2),
        ((CUBIC, DRAWINGS), GPU, "cyclegan", 2),
        ((CUBIC, replace(CUBIC_T2, channels=3)), GPU, "cyclegan", 2),
    ],
)
def test_dims(both: Any, machine: Machine, method: str, dims: float) -> None:
    assert rules.choose_dims(both, machine, method).value == dims


@pytest.mark.parametrize(
    ("both", "plane"),
    [
        ((T1, T2), "axial"),
        ((CORONAL, CORONAL), "coronal"),
        ((CORONAL, CUBIC), "coronal"),
        ((CORONAL, T2), "axial"),  # they disagree
        ((CUBIC, CUBIC), "axial"),
        ((replace(T1, spacing=(3.0, 0.9, 0.9)), DRAWINGS), "sagittal"),
    ],
)
def test_plane_is_across_the_thickest_axis(both: Any, plane: str) -> None:
    assert rules.choose_plane(both).value == plane


@pytest.mark.parametrize(
    ("both", "dims", "machine", "spacing"),
    [
        # 195 mm and a margin in 128 pixels are 1.5996 mm, in 256 finer than T1 is.
        ((T1, T2), 2, CPU, (1.6, 1.6, None)),
        ((T1, T2), 2, GPU, (0.9, 0.9, None)),
        ((T2, T2), 2, GPU, (0.8, 0.8, None)),
        ((CUBIC, CUBIC_T2), 3, GPU, (1.0, 1.0, 1.0)),
        ((CUBIC, CUBIC_T2), 2.5, CPU, (1.6, 1.6, None)),
        ((T1, replace(T2, spacing=(0.6, 0.6, 4.0))), 2.5, CPU, (1.6, 1.6, 4.0)),
        ((DRAWINGS, DRAWINGS), 2, CPU, (1.0, 1.0, None)),
        # A mouse: nothing here is tied to people's size.
        (
            (replace(T1, spacing=(0.05, 0.05, 0.5), body=(15.0, 20.0, 14.0)),),
            2,
            CPU,
            (0.17, 0.17, None),
        ),
    ],
)
def test_spacing(both: Any, dims: float, machine: Machine, spacing: Any) -> None:
    assert rules.choose_spacing(both, dims, "axial", machine).value == spacing


@pytest.mark.parametrize(
    ("both", "dims", "spacing", "machine", "size"),
    [
        ((T1, T2), 2, (1.6, 1.6, None), CPU, (112, 128)),
        ((T1, T2), 2, (0.9, 0.9, None), GPU, (192, 240)),
        ((T1, T2), 2, (0.1, 0.1, None), GPU, (512, 512)),  # a given spacing asks for too much
        ((replace(T1, voxels=(100.0, 300.0, 48)), T2), 2, (0.9, 0.9, None), GPU, (96, 240)),
        ((CUBIC, CUBIC_T2), 3, (1.0, 1.0, 1.0), GPU, (96, 96, 96)),
        ((CUBIC, CUBIC_T2), 3, (1.0, 1.0, 1.0), CPU, (32, 32, 32)),
        ((replace(CUBIC, voxels=(192, 256, 60.0)),), 3, (1.0, 1.0, 1.0), GPU, (96, 96, 56)),
        ((DRAWINGS, DRAWINGS), 2, (1.0, 1.0, None), CPU, (128, 128)),
        ((T1, DRAWINGS), 2, (None, None, None), CPU, (192, 240)),
    ],
)
def test_sample_size(both: Any, dims: float, spacing: Any, machine: Machine, size: Any) -> None:
    assert rules.choose_sample_size(both, dims, "axial", spacing, machine).value == size


@pytest.mark.parametrize(("dims", "spacing"), [(2, (8.0, 8.0, None)), (3, (12.0, 12.0, 12.0))])
def test_volumes_that_are_too_small_are_refused(dims: float, spacing: Any) -> None:
    small = replace(T2, voxels=(60, 60, 44), spacing=(3.0, 3.0, 3.0))
    with pytest.raises(UserError, match="the style collection's volumes are too small"):
        rules.choose_sample_size((T1, small), dims, "axial", spacing, CPU)


def test_hounsfield_units_are_kept_and_nothing_else_is_decided() -> None:
    choice = rules.choose_intensity(CT)
    assert choice is not None
    window = choice.value
    assert window["level"] - window["width"] / 2 == -1024
    assert window["level"] + window["width"] / 2 == 2000
    assert rules.choose_intensity(T1) is None


@pytest.mark.parametrize(
    ("scan", "style", "match"),
    [
        (T1, T2, "position"),
        (T1, replace(T2, typical_body=(155.0, 195.0, 600.0)), "none"),
        (T1, DRAWINGS, "none"),
        (replace(T1, voxels=(256, 256, 1)), T2, "none"),
    ],
)
def test_match(scan: CollectionFacts, style: CollectionFacts, match: str) -> None:
    assert rules.choose_match(scan, style, 2, "axial").value == match


@pytest.mark.parametrize(
    ("dims", "machine", "workers"), [(2, CPU, 0), (3, CPU, 1), (2, GPU, 4), (3, GPU, 4)]
)
def test_workers(dims: float, machine: Machine, workers: int) -> None:
    assert rules.choose_workers(dims, machine).value == workers


@pytest.mark.parametrize(
    ("machine", "precision", "resolved"),
    [
        (CPU, "auto", "bf16"),
        (replace(CPU, gflops={}), "auto", "bf16"),
        (replace(CPU, native_bf16=False, gflops={"fp32": 100.0}), "auto", "fp32"),
        (replace(CPU, gflops={"fp32": 100.0, "bf16": 50.0}), "fp32", "fp32"),
    ],
)
def test_precision(machine: Machine, precision: str, resolved: str) -> None:
    choice = rules.choose_precision(machine)
    assert choice.value == precision
    assert rules.resolved_precision(choice.value, machine) == resolved


@pytest.mark.parametrize(
    ("vgg", "every"), [(10.0, 4), (120.0, 4), (121.0, 8), (300.0, 16), (9e3, 16)]
)
def test_the_vgg_costs_no_more_than_its_share(vgg: float, every: int) -> None:
    assert rules.choose_cadence(StepCost(100.0, vgg, 0.0)).value == every


@pytest.mark.parametrize(
    ("slices", "dims", "steps"), [(10, 2, 3_000), (240, 2, 6_000), (1e5, 2, 50_000), (90, 3, 9_000)]
)
def test_wanted_steps(slices: float, dims: float, steps: int) -> None:
    assert rules.wanted_steps(slices, dims).value == steps


@pytest.mark.parametrize(
    ("budget", "memory", "fixed", "expected"),
    [
        (1e9, 99.0, False, (64, False, 6_000)),
        (1e9, 9.0, False, (64, True, 6_000)),  # 64 takes 12 GiB, half of it with blocks again
        (1e9, 2.0, False, (16, False, 6_000)),
        (6_000 * 1.5, 99.0, False, (32, False, 6_000)),
        (6_000 * 0.6, 99.0, False, (16, False, 6_000)),
        (1_500, 99.0, False, (16, False, 3_000)),
        (10, 99.0, False, (16, False, 1_000)),
        (1_500, 99.0, True, (16, False, 6_000)),
        (1e9, 0.01, False, (16, True, 6_000)),  # nothing fits
    ],
)
def test_width_and_steps_fit_time_and_memory(
    budget: float, memory: float, fixed: bool, expected: tuple[int, bool, int]
) -> None:
    seconds = {64: 2.0, 32: 1.0, 16: 0.5}
    needs = {64: 12.0, 32: 4.0, 16: 1.5}
    length = rules.choose_length(
        (64, 32, 16),
        rules.Choice(6_000, "wanted"),
        fixed,
        lambda width: seconds[width],
        lambda width, again: needs[width] * GIB / (1 + again),
        True,
        replace(CPU, memory=memory * GIB),
        budget,
    )
    assert (length.width.value, length.again is not None, length.steps.value) == expected


@pytest.mark.parametrize(
    ("scan", "style", "others", "steps", "warm"),
    [
        (T1, T2, True, 1_500, 1_000),
        (T1, T2, True, 3_000, 2_000),
        (T1, T2, True, 20_000, 2_000),
        (T1, T2, True, 900, 0),
        (T1, T2, False, 3_000, 0),
        (T1, DRAWINGS, True, 3_000, 0),
        (replace(T1, voxels=(256, 256, 8)), T2, True, 3_000, 0),
        (T1, replace(T2, typical_body=(155.0, 195.0, 600.0)), True, 3_000, 0),
    ],
)
def test_warm_start(
    scan: CollectionFacts, style: CollectionFacts, others: bool, steps: int, warm: int
) -> None:
    assert rules.choose_warm_start(scan, style, others, steps).value == warm


def test_a_start_by_inpainting_needs_nothing_registered() -> None:
    kind = "training.warm_start.name=inpainting"
    assert decided(kind, "training.steps=3000", style=DRAWINGS)["training.warm_start.steps"] == 300
    assert decided(kind, "training.steps=900")["training.warm_start.steps"] == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], True),
        (["training.warm_start.kept_weight=0"], False),
        (["training.warm_start.steps=0"], False),
        (["training.warm_start.name=inpainting"], False),
        (["data.pairing=subject"], False),
        (["method.name=cut", "loss.cycle.weight=0", "loss.identity.weight=0"], False),
    ],
)
def test_cycle_and_identity_are_light_beside_kept_pseudo_pairs(
    given: list[str], kept: bool
) -> None:
    if "method.name=cut" in given:
        given = [*given, "loss.perceptual.reconstruction_weight=0", "loss.contrastive.weight=1"]
    found = decided("training.steps=3000", *given)
    beside = {"loss.cycle.weight", "loss.identity.weight"}
    assert (beside <= set(found)) == kept
    assert ("training.warm_start.kept_weight" in found) == kept
    assert ("training.warm_start.kept_low_pass" in found) == kept
    # The guided filter needs the same anatomy in both collections, and no pairs in the game.
    start = given in ([], ["training.warm_start.kept_weight=0"])
    assert ("generator.guide_radius" in found) == start


@pytest.mark.parametrize(
    ("facts", "dims", "plane", "spacing", "pixels"),
    [
        (T1, 2, "axial", (1.8, 1.8, None), 1.8),
        (T1, 2, "axial", (0.9, 0.9, None), 3.6),
        (T1, 2.5, "axial", (None, None, None), 3.6),
        (CORONAL, 2, "coronal", (1.8, None, 1.8), 1.4),
        (CUBIC, 3, "axial", (2.0, 2.0, 2.0), 1.6),
        (MOUSE, 2, "axial", (None, None, None), 6.7),
    ],
)
def test_pseudo_pairs_are_compared_through_a_share_of_the_body(
    facts: CollectionFacts,
    dims: float,
    plane: str,
    spacing: tuple[float | None, ...],
    pixels: float,
) -> None:
    """3.2 mm of a head's 195; what slices are stacked along is no matter."""
    found = rules.choose_kept_low_pass(facts, dims, plane, spacing).value
    assert found == pytest.approx(pixels, abs=0.1)
    radius = rules.choose_guide_radius(facts, dims, plane, spacing).value
    assert isinstance(radius, int)
    assert abs(radius - pixels) <= 0.6


@pytest.mark.parametrize(("millimetres", "radius"), [(10.0, 1), (0.1, 16)])
def test_windows_of_the_guided_filter_have_bounds(millimetres: float, radius: int) -> None:
    spacing = (millimetres, millimetres, None)
    assert rules.choose_guide_radius(T1, 2, "axial", spacing).value == radius


# ------------------------------------------------------------------------------------ together


def flat_cost(settings: dict[str, Any]) -> StepCost:
    width = settings.get("generator.ngf", 64)
    return StepCost(1e9 * width, 4e9, width * GIB / 64)


def decided(
    *overrides: str,
    scan: CollectionFacts = T1,
    style: CollectionFacts = T2,
    machine: Machine = CPU,
    budget: float = 1e9,
) -> dict[str, Any]:
    config: Config = load_config(None, overrides)
    given = [override.partition("=")[0] for override in overrides]
    found = rules.decide(scan, style, True, machine, config, given, flat_cost, budget)
    assert all(decision.reason for decision in found)
    assert set(rules.PLANNED) >= {decision.key for decision in found}
    return {decision.key: decision.value for decision in found}


def test_decisions_make_a_config_and_rest_on_each_other() -> None:
    found = decided()
    config = load_config(options=found)
    assert config.data.sample_size == (112, 128)
    assert config.generator.ngf == 64  # 30 subjects
    assert config.training.steps == 36_000  # 25 passes over 30 x 48 slices
    assert config.training.warm_start.steps == 2_000
    assert config.training.warm_start.kept_weight > config.loss.cycle.weight > 0
    assert decided(scan=few(T1))["generator.ngf"] == 32


def test_patches_have_no_plane() -> None:
    found = decided(scan=CUBIC, style=CUBIC_T2, machine=GPU)
    assert "data.plane" not in found
    assert load_config(options=found).data.sample_size == (96, 96, 96)


def test_what_is_given_is_not_decided_and_the_rest_follows_it() -> None:
    found = decided("data.spacing=[3,3,null]", "training.steps=2000", "generator.ngf=8")
    assert not {"data.spacing", "training.steps", "generator.ngf"} & set(found)
    assert found["data.sample_size"] == (64, 72)  # as far as T2 reaches
    assert found["training.warm_start.steps"] == 1330


@pytest.mark.parametrize(
    "given", ["generator={name: resnet, ngf: 8}", "generator.name=unet", "method.name=adain"]
)
def test_sizes_of_other_networks_are_left_alone(given: str) -> None:
    assert "generator.blocks" not in decided(given)


def test_methods_of_one_style_keep_their_length_and_terms() -> None:
    found = decided("method.name=feedforward", style=DRAWINGS)
    assert not [key for key in found if key.startswith(("generator.", "loss."))]
    assert "training.steps" not in found
    load_config(None, ["method.name=feedforward"], options=found)


def test_nothing_is_counted_where_all_of_it_is_given() -> None:
    def counted(settings: dict[str, Any]) -> StepCost:
        raise AssertionError("counted for nothing")

    given = ["generator.ngf", "training.steps"]
    given += [f"loss.{term}.every_n_steps" for term in ("perceptual", "style")]
    rules.decide(T1, T2, True, replace(CPU, gflops={}), Config(), given, counted, 1.0)
