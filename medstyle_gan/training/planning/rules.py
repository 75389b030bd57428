"""Every rule of `medstyle plan`, with its reason: pure functions of facts, in one place.

A rule gives a value and says why in a line, with the figures that it came from; the line stands
beside the value in the plan. What the user has given is never decided, and what follows is
decided by it. Where a rule rests on a paper or on a measurement of ours, the comment says which;
the others are judgement, and say that no more than by having none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.config.method_rules import ONE_WAY
from medstyle_gan.errors import UserError
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training.memory import USABLE
from medstyle_gan.training.planning.facts import CollectionFacts, Machine, StepCost

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of R, A, S across each plane
_AXIS_NAMES = ("R", "A", "S")

# A voxel is thick along an axis where it is so many times as long as along the others.
THICK = 1.5
# Two collections show the same part of the body where their extents differ by no more than this.
SAME_PART = 1.5
# Around the body, for the shifts and turns of augmentation.
MARGIN = 1.05
# Side of a slice (pixels): the papers' 256, and a quarter of the work on a CPU.
SIDE = {"cuda": 256, "cpu": 128}
# The VGG-19's deepest layer sees a sixteenth of the side: below this it sees one pixel.
LEAST_SIDE, LEAST_PATCH_SIDE = 32, 16
SIZE_STEP = 16
# Side of a 3-D patch by the memory of the device (GiB).
PATCH_SIDES = ((40, 96), (16, 64), (0, 32))
LEAST_MEMORY_3D = 16
# Below, a discriminator that sees more than a slice at a time learns the subjects by heart.
ENOUGH_SUBJECTS = 10
# Below, generators of the papers' width have more to remember with than there is to see.
MANY_SUBJECTS = 20
WIDTHS, WIDTHS_3D = (64, 32, 16), (32, 16, 8)
# Passes over all scan slices. Zhu et al. 2017 take 200 over about a thousand photographs; slices
# of one volume are much alike, patches at random places less.
EPOCHS, EPOCHS_3D = 25, 100
LEAST_STEPS, FEWEST_WANTED, MOST_STEPS = 1_000, 3_000, 50_000
# The VGG-19's terms may add this share to a step (DESIGN §6). Acting every fourth step was
# measured to change nothing (scripts/study_lazy_vgg.py); the demo takes every eighth.
VGG_SHARE = 0.3
CADENCES = (4, 8, 16)
# Warm start on registered scans: two thirds of the training, no more than was seen to pay on
# openms, and none where the training itself is short. By inpainting: a tenth, a few hundred steps.
WARM_SHARE, MOST_WARM_STEPS, LEAST_STEPS_WITH_WARM = 2 / 3, 2_000, 1_000
INPAINTING_SHARE, MOST_INPAINTING_STEPS = 0.1, 600
# Measured on openms: kept pseudo-pairs hold the anatomy, and the way back and the identity, which
# do so elsewhere, pull a translation back towards its scan's contrast.
# What is finer than that Gaussian no pair knows of its scan: 2 pixels, of a head's 120. As wide is
# half a window of the guided filter, by which the scan tells it.
KEPT_WEIGHT, DETAIL = 20.0, 1 / 60
MOST_GUIDE_RADIUS = 16
CYCLE_BESIDE_KEPT, IDENTITY_BESIDE_KEPT = 1.0, 0.0
# Fewer voxels along an axis cannot be deformed to fit.
LEAST_REGISTERED = 12
REGISTRATION_SECONDS = 10.0
# Aligning them once more: what is learned for it, and each pair.
REFINEMENT_SECONDS, REFINED_PAIR_SECONDS = 60.0, 7.0
# What a step reaches of the measured rate of matrix products, and what it takes besides (s). On a
# CPU with AMX measured by processor time, on T1 to T2 of openms; of GPUs a guess.
EFFICIENCY: dict[tuple[str, Precision], float] = {
    ("cpu", "fp32"): 0.8,
    ("cpu", "bf16"): 0.5,
    ("cuda", "fp32"): 0.25,
    ("cuda", "bf16"): 0.25,
}
OVERHEAD = {"cpu": 0.01, "cuda": 0.04}
_GIBIBYTE = 2.0**30
RESNETS = ("resnet", "switchable")
# All that a plan may decide.
PLANNED = (
    *(f"data.{name}" for name in ("dims", "plane", "spacing", "sample_size", "workers")),
    *("data.intensity.scan", "data.intensity.style", "data.sampler.match"),
    *(f"generator.{name}" for name in ("name", "blocks", "ngf", "checkpoint_activations")),
    *("loss.perceptual.every_n_steps", "loss.style.every_n_steps"),
    *(f"training.{name}" for name in ("precision", "batch_size", "steps")),
    *(f"training.warm_start.{name}" for name in ("steps", "kept_weight", "kept_low_pass")),
    *("generator.guide_radius", "loss.cycle.weight", "loss.identity.weight"),
)


@dataclass(frozen=True)
class Choice:
    """A value, and why it is that."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Decision:
    """A setting of the plan: its dotted key, value and reason."""

    key: str
    value: Any
    reason: str


# ------------------------------------------------------------------------------------ samples


def choose_dims(collections: Sequence[CollectionFacts], machine: Machine, method: str) -> Choice:
    """2, 2.5 or 3: how much of a volume a sample holds."""
    if method == "adain":
        return Choice(2, "adain encodes slices")
    if any(c.pictures for c in collections):
        return Choice(2, "a collection has pictures, which are slices")
    if any(c.channels > 1 for c in collections):
        return Choice(2, "a collection is in colour, whose channels stand where neighbours would")
    ratio = max(max(c.spacing) / min(c.spacing) for c in collections)
    if ratio >= THICK:
        return Choice(2, f"voxels are {ratio:.1f} times as long as wide: neighbours differ much")
    fewest = min(c.subjects for c in collections)
    if fewest < ENOUGH_SUBJECTS:
        return Choice(2, f"{fewest} subjects are few: whole slices train steadier than patches")
    if machine.has_gpu and machine.memory >= LEAST_MEMORY_3D * _GIBIBYTE:
        return Choice(3, f"voxels about as long as wide ({ratio:.1f}), {fewest} subjects and a GPU")
    return Choice(
        2.5,
        f"voxels about as long as wide ({ratio:.1f}): neighbours hold slices together at nearly "
        "the cost of one, where 3-D needs a larger GPU",
    )


def choose_plane(collections: Sequence[CollectionFacts]) -> Choice:
    """The plane of slices: across the axis that is sampled worst."""
    thick = {
        axis for c in collections if not c.pictures and (axis := _thick_axis(c.spacing)) is not None
    }
    if not thick:
        return Choice("axial", "no axis is sampled worse than the others: the usual plane")
    if len(thick) > 1:
        names = " and ".join(_AXIS_NAMES[axis] for axis in sorted(thick))
        return Choice("axial", f"thick along {names}: the collections disagree, so the usual plane")
    (axis,) = thick
    plane = next(name for name, across in AXES.items() if across == axis)
    return Choice(plane, f"voxels are longest along {_AXIS_NAMES[axis]}: slices lie across it")


def _thick_axis(spacing: Sequence[float]) -> int | None:
    axis = max(range(3), key=lambda a: spacing[a])
    others = max(size for a, size in enumerate(spacing) if a != axis)
    return axis if spacing[axis] >= THICK * others else None


def choose_spacing(
    collections: Sequence[CollectionFacts], dims: float, plane: str, machine: Machine
) -> Choice:
    """Working voxel size along R, A, S (mm)."""
    volumes = [c for c in collections if not c.pictures]
    if not volumes:
        return Choice((1.0, 1.0, None), "pictures have no millimetres: without effect")
    axes = _axes(dims, plane)
    own = max(c.spacing[axis] for c in volumes for axis in axes)
    extent = max(c.body[axis] for c in volumes for axis in axes)
    # The whole body in a slice; patches need no more than a grid that a network can go over.
    side = SIDE["cuda" if dims == 3 else machine.device]
    needed = MARGIN * extent / side
    if own >= needed:
        size = _rounded(own, 3)
        why = f"the coarser collection's own: finer detail than {own:.3g} mm would be invented"
    else:
        size = _rounded(needed, 2, math.ceil)
        on = "GPU" if machine.has_gpu or dims == 3 else "CPU"
        why = f"a body of {extent:.0f} mm within {side} voxels, which suit a {on}"
    if dims == 3:
        return Choice((size, size, size), f"{why}; the same along all axes")
    values: list[float | None] = [size, size, size]
    values[AXES[plane]] = None
    why += "; null: slices stay where they are"
    thickness = [c.spacing[AXES[plane]] for c in volumes]
    if dims == 2.5 and max(thickness) > 1.2 * min(thickness):
        values[AXES[plane]] = _rounded(max(thickness), 3)
        why = why.partition(";")[0] + "; neighbours equally far apart in both collections"
    return Choice(tuple(values), why)


def choose_sample_size(
    collections: Sequence[CollectionFacts],
    dims: float,
    plane: str,
    spacing: Sequence[float | None],
    machine: Machine,
) -> Choice:
    """Size of a sample: the whole body in a slice, or a patch.

    Raises:
        UserError: the volumes are too small to be learned from.
    """
    volumes = [c for c in collections if not c.pictures]
    if not volumes:
        side = SIDE[machine.device]
        return Choice((side, side), f"pictures are resized to it; {machine.device} takes that much")
    axes = _axes(dims, plane)
    rooms = [min(_count(c, axis, spacing, c.voxels[axis]) for c in volumes) for axis in axes]
    least = LEAST_PATCH_SIDE if dims == 3 else LEAST_SIDE
    if min(rooms) < least:
        smallest = min(volumes, key=lambda c: min(c.voxels[axis] for axis in axes))
        raise UserError(
            f"the {smallest.domain} collection's volumes are too small: "
            f"{' x '.join(f'{room:.0f}' for room in rooms)} voxels "
            f"{'' if dims == 3 else f'in {plane} slices '}at data.spacing, and {least} along each "
            "axis are the least; give larger volumes, or set a smaller data.spacing"
        )
    if dims == 3:
        memory = machine.memory / _GIBIBYTE if machine.has_gpu else 0
        side = next(side for gib, side in PATCH_SIDES if memory >= gib)
        size = tuple(min(side, _below(room, 8)) for room in rooms)
        device = f"a GPU of {memory:.0f} GiB" if machine.has_gpu else "a CPU"
        return Choice(size, f"{device} takes patches of {side} voxels, as far as volumes reach")
    # Of the body in each collection; a given spacing may ask for more than a machine can do.
    needed = [
        max(_count(c, axis, spacing, c.body[axis], mm=True) for c in volumes) for axis in axes
    ]
    most = 2 * SIDE[machine.device]
    size = tuple(
        min(_above(MARGIN * need, SIZE_STEP), _below(room, 8), most)
        for need, room in zip(needed, rooms, strict=True)
    )
    cut = any(s < need for s, need in zip(size, needed, strict=True))
    body = " x ".join(f"{need:.0f}" for need in needed)
    why = f"the body takes up to {body} pixels"
    return Choice(size, f"{why}, and its middle is seen" if cut else f"{why}: all of it is seen")


def _axes(dims: float, plane: str) -> list[int]:
    """The axes of R, A, S that a sample shows."""
    return [axis for axis in range(3) if dims == 3 or axis != AXES[plane]]


def _count(
    facts: CollectionFacts,
    axis: int,
    spacing: Sequence[float | None],
    length: float,
    mm: bool = False,
) -> float:
    """A length in working voxels, given in the collection's own or in mm."""
    own = facts.spacing[axis]
    return (length if mm else length * own) / (spacing[axis] or own)


def choose_intensity(facts: CollectionFacts) -> Choice | None:
    """The intensity scale; None leaves the default, each volume's own percentiles."""
    if not facts.hounsfield or facts.pictures:
        return None
    window = {"name": "window", "level": 488.0, "width": 3024.0, "clip": True}
    return Choice(window, "looks like CT, whose units mean something: -1024 to 2000 HU, for all")


def choose_match(scan: CollectionFacts, style: CollectionFacts, dims: float, plane: str) -> Choice:
    """How the style sample is drawn."""
    if scan.pictures or style.pictures:
        return Choice("none", "pictures have no height in a body")
    axis = AXES[plane]
    if dims != 3 and min(scan.voxels[axis], style.voxels[axis]) < 2:
        return Choice("none", "single slices have no height in a body")
    ratio = _ratio(scan.typical_body[axis], style.typical_body[axis])
    if ratio > SAME_PART:
        return Choice(
            "none",
            f"one collection reaches {ratio:.1f} times as far along {_AXIS_NAMES[axis]}: the same "
            "relative height would be another anatomy",
        )
    # Free, and what a discriminator then judges is contrast, not which anatomy it sees.
    return Choice("position", "both collections show about the same part of the body")


def choose_workers(dims: float, machine: Machine) -> Choice:
    """Loader processes."""
    spare = max(0, machine.cores - 1)
    if machine.has_gpu:
        return Choice(min(4, spare), "a GPU's steps are shorter than drawing and turning a sample")
    if dims == 3:
        return Choice(min(2, spare), "reading and turning a patch takes long, beside the training")
    return Choice(0, "drawing a slice is short, and the training needs the cores")


# ----------------------------------------------------------------------------- networks, length


def choose_blocks(sample_size: Sequence[int]) -> Choice:
    """Residual blocks, as Zhu et al. 2017 have them: 6 for 128 pixels, 9 for 256 and more."""
    if len(sample_size) == 3:
        return Choice(6, "patches see less than slices do")
    if max(sample_size) < 192:
        return Choice(6, "as CycleGAN's authors have it for 128 pixels")
    return Choice(9, "as CycleGAN's authors have it for 256 pixels")


def choose_precision(machine: Machine) -> Choice:
    """Arithmetic of the networks."""
    rates = machine.gflops
    if not machine.native_bf16:
        return Choice("auto", "fp32 here, which has no native bfloat16")
    if "bf16" in rates and rates["bf16"] < rates["fp32"]:
        slower = rates["fp32"] / rates["bf16"]
        return Choice("fp32", f"bfloat16 is native here, and measured {slower:.1f} times slower")
    measured = f", measured {rates['bf16'] / rates['fp32']:.1f} times faster" if rates else ""
    return Choice("auto", f"bf16 here, which is native{measured}")


def resolved_precision(asked: str, machine: Machine) -> Precision:
    """What `training.precision` is on a machine."""
    if asked == "auto":
        return "bf16" if machine.native_bf16 else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def choose_batch(machine: Machine) -> Choice:
    """Samples in a step: what every figure of ours was made with."""
    more = "; a GPU has room for more: no rule of ours is measured there" if machine.has_gpu else ""
    return Choice(1, f"as the papers have it: instance norms see each image alone{more}")


def choose_cadence(cost: StepCost) -> Choice:
    """Steps between applications of the VGG-19's terms."""
    for every in CADENCES:
        share = cost.vgg_operations / every / cost.operations
        if share <= VGG_SHARE:
            break
    why = f"the VGG-19 then adds {share:.0%} to a step"
    if share > VGG_SHARE:
        return Choice(every, f"{why}, though {VGG_SHARE:.0%} are the limit: set vgg.crop or scale")
    return Choice(every, f"{why}; {VGG_SHARE:.0%} are the limit")


def wanted_steps(slices: float, dims: float) -> Choice:
    """Steps that the data is worth, whatever the machine.

    Args:
        slices: of all scans; for patches, how many of them cover all scans.
    """
    passes = (EPOCHS_3D if dims == 3 else EPOCHS) * slices
    steps = int(min(max(round(passes, -3), FEWEST_WANTED), MOST_STEPS))
    what = "patches" if dims == 3 else "slices"
    return Choice(steps, f"about {steps / max(slices, 1):.0f} passes over {slices:.0f} scan {what}")


def step_seconds(cost: StepCost, every: int, precision: Precision, machine: Machine) -> float:
    """What a step takes by the measured rate of matrix products (s); 0 where none was measured."""
    rate = machine.gflops.get(precision)
    if rate is None:
        return 0.0
    work = cost.mean_operations(every) / (1e9 * rate * EFFICIENCY[machine.device, precision])
    return work + OVERHEAD[machine.device]


@dataclass(frozen=True)
class Length:
    """The size of generators and the length of a training, as they fit the machine together.

    Attributes:
        width: `generator.ngf`.
        again: `generator.checkpoint_activations`, where it is needed; else None.
        steps: `training.steps`.
    """

    width: Choice
    again: Choice | None
    steps: Choice


def choose_length(
    widths: Sequence[int],
    wanted: Choice,
    fixed_steps: bool,
    seconds: Callable[[int], float],
    memory: Callable[[int, bool], float],
    may_repeat: bool,
    machine: Machine,
    budget: float,
) -> Length:
    """The widest generators whose training fits the machine's memory and the user's time.

    Narrower generators come before a shorter training: a narrow one that has seen the data is
    worth more than a wide one that has not. Blocks that are computed again in the backward pass
    come before narrower ones: they cost a fifth more time and no quality.

    Args:
        widths: to choose from, widest first.
        wanted: steps that the data is worth.
        fixed_steps: whether they were given, and are kept.
        seconds: width → of a step.
        memory: (width, blocks computed again in the backward pass) → bytes of a step.
        may_repeat: whether blocks may be computed again.
        machine: its memory counts.
        budget: seconds for the training.
    """
    there = USABLE * machine.memory
    ways = [(w, again) for w in widths for again in (False, True)[: 1 + may_repeat]]
    fits = in_time = False
    width, again = ways[-1]
    for width, again in ways:
        fits = memory(width, again) <= there
        in_time = wanted.value * seconds(width) <= budget
        if fits and in_time:
            break
    else:  # the narrowest that fits, for fewer steps; or else the narrowest
        fitting = [way for way in ways if memory(*way) <= there]
        width = fitting[-1][0] if fitting else widths[-1]
        again = (width, False) not in fitting and may_repeat
        fits = bool(fitting)
    total = wanted.value * seconds(width)
    why = f"a step needs about {memory(width, again) / _GIBIBYTE:.2g} GiB of "
    why += f"{machine.memory / _GIBIBYTE:.3g}"
    if not fits:
        why += ", which may not do: take smaller samples"
    if total:
        why += f"; {wanted.value} steps take about {_duration(total)} of {_duration(budget)}"
    if width < widths[0]:
        why += f"; {widths[0]} would not fit"
    steps = wanted
    if total > budget and not fixed_steps:
        fewer = max(LEAST_STEPS, int(budget / seconds(width)) // 100 * 100)
        if fewer < wanted.value:
            steps = Choice(fewer, f"for {_duration(budget)}; {wanted.reason} are {wanted.value}")
    saving = Choice(True, "blocks computed again: less memory, a fifth more time")
    return Length(Choice(width, why), saving if again else None, steps)


def choose_warm_start(
    scan: CollectionFacts,
    style: CollectionFacts,
    others: bool,
    steps: int,
    kind: str = "registered",
) -> Choice:
    """Steps that begin on roughly registered scans of other subjects, or on images with holes.

    Args:
        scan, style: the collections.
        others: whether some scan has a style volume of another subject.
        steps: of the whole training.
        kind: the one that was asked for; `inpainting` needs no registration.
    """
    if kind == "inpainting":
        if steps < LEAST_STEPS_WITH_WARM:
            return Choice(0, f"{steps} steps are too few to give any away")
        filling = min(MOST_INPAINTING_STEPS, int(INPAINTING_SHARE * steps) // 10 * 10)
        return Choice(filling, "what anatomy looks like is learned first, by filling holes")
    if scan.pictures or style.pictures:
        return Choice(0, "pictures cannot be registered")
    if not others:
        return Choice(0, "it needs scans and style volumes of different subjects")
    if steps < LEAST_STEPS_WITH_WARM:
        return Choice(0, f"{steps} steps are too few to give any away")
    fewest = min(*scan.voxels, *style.voxels)
    if fewest < LEAST_REGISTERED:
        return Choice(0, f"{fewest:.0f} voxels along an axis are too few to be registered")
    ratio = max(map(_ratio, scan.typical_body, style.typical_body))
    if ratio > SAME_PART:
        return Choice(0, f"extents differ by {ratio:.1f}: not the same part of the body")
    return Choice(
        min(MOST_WARM_STEPS, int(WARM_SHARE * steps) // 10 * 10),
        "the contrast is learned first, from scans registered to style volumes of other subjects",
    )


def choose_kept_low_pass(
    scan: CollectionFacts, dims: float, plane: str, spacing: Sequence[float | None]
) -> Choice:
    """The Gaussian that pseudo-pairs are compared through in the game, in pixels."""
    why = "a sixtieth of the body: finer details no pair knows, and the game makes them"
    return Choice(round(_detail(scan, dims, plane, spacing), 1), why)


def choose_guide_radius(
    scan: CollectionFacts, dims: float, plane: str, spacing: Sequence[float | None]
) -> Choice:
    """Half the windows of the guided filter, in pixels."""
    radius = round(_detail(scan, dims, plane, spacing))
    why = "a sixtieth of the body: edges are the scan's, contrast is learned"
    return Choice(min(max(radius, 1), MOST_GUIDE_RADIUS), why)


def _detail(
    scan: CollectionFacts, dims: float, plane: str, spacing: Sequence[float | None]
) -> float:
    """What counts as a fine detail of a body, in pixels."""
    axes = _axes(dims, plane)
    return DETAIL * max(
        _count(scan, axis, spacing, scan.typical_body[axis], mm=True) for axis in axes
    )


# ------------------------------------------------------------------------------------ together


class _Draft:
    """Decisions so far; what was given stands."""

    def __init__(self, config: Config, given: Collection[str]) -> None:
        self._config = config
        self._given = given
        self.decisions: dict[str, Decision] = {}

    def settle(self, key: str, choose: Callable[[], Choice | None]) -> Any:
        """Decide a setting that was not given; a rule may leave the default."""
        if not is_given(key, self._given):
            choice = choose()
            if choice is not None:
                self.decisions[key] = Decision(key, choice.value, choice.reason)
        return self.value(key)

    def value(self, key: str) -> Any:
        """The setting as it stands: decided, given or the default."""
        if key in self.decisions:
            return self.decisions[key].value
        return setting(self._config, key)

    def settings(self, **more: Any) -> dict[str, Any]:
        """What is decided so far by dotted keys, and more, with __ for the dots."""
        decided = {key: decision.value for key, decision in self.decisions.items()}
        return decided | {key.replace("__", "."): value for key, value in more.items()}


def setting(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def is_given(key: str, given: Collection[str]) -> bool:
    """Whether a setting, the section that it is in, or a part of it was given."""
    return any(key == g or key.startswith(f"{g}.") or g.startswith(f"{key}.") for g in given)


def decide(
    scan: CollectionFacts,
    style: CollectionFacts,
    others: bool,
    machine: Machine,
    config: Config,
    given: Collection[str],
    cost: Callable[[dict[str, Any]], StepCost],
    budget: float,
) -> tuple[Decision, ...]:
    """All decisions, in an order in which each may rest on those before it.

    Args:
        scan, style: the collections.
        others: whether some scan has a style volume of another subject.
        machine: what trains.
        config: what was given, the rest being defaults.
        given: dotted keys of what was given; they are not decided.
        cost: settings → the cost of a step of the config with them.
        budget: seconds for the training.

    Raises:
        UserError: the volumes are too small.
    """
    draft, both, method = _Draft(config, given), (scan, style), config.method.name
    dims = draft.settle("data.dims", lambda: choose_dims(both, machine, method))
    if dims != 3:  # patches have no plane
        draft.settle("data.plane", lambda: choose_plane(both))
    plane = draft.value("data.plane")
    spacing = draft.settle("data.spacing", lambda: choose_spacing(both, dims, plane, machine))
    draft.settle(
        "data.sample_size", lambda: choose_sample_size(both, dims, plane, spacing, machine)
    )
    draft.settle("data.intensity.scan", lambda: choose_intensity(scan))
    draft.settle("data.intensity.style", lambda: choose_intensity(style))
    draft.settle("data.sampler.match", lambda: choose_match(scan, style, dims, plane))
    draft.settle("data.workers", lambda: choose_workers(dims, machine))
    draft.settle("training.precision", lambda: choose_precision(machine))
    draft.settle("training.batch_size", lambda: choose_batch(machine))
    # The transfers of one style have networks, weights and a length of their own.
    if method not in ONE_WAY:
        _decide_networks(draft, scan, machine, given, cost, budget)
        steps = draft.value("training.steps")
        kind = draft.value("training.warm_start.name")
        draft.settle(
            "training.warm_start.steps",
            lambda: choose_warm_start(scan, style, others, steps, kind),
        )
        if method == "cyclegan" and draft.value("data.pairing") == "none":
            _decide_beside_warm_start(draft, scan)
    return tuple(draft.decisions.values())


def _decide_beside_warm_start(draft: _Draft, scan: CollectionFacts) -> None:
    """What holds the anatomy in the game after a start on registered scans."""
    registered = draft.value("training.warm_start.name") == "registered"
    if not registered or not draft.value("training.warm_start.steps"):
        return
    seen = [draft.value(f"data.{name}") for name in ("dims", "plane", "spacing")]
    draft.settle("generator.guide_radius", lambda: choose_guide_radius(scan, *seen))
    why = "pseudo-pairs hold the anatomy in its place in the game too"
    kept = draft.settle("training.warm_start.kept_weight", lambda: Choice(KEPT_WEIGHT, why))
    if kept:
        draft.settle("training.warm_start.kept_low_pass", lambda: choose_kept_low_pass(scan, *seen))
        beside = "pseudo-pairs do what it is for, and it pulls towards the scan's contrast"
        draft.settle("loss.cycle.weight", lambda: Choice(CYCLE_BESIDE_KEPT, beside))
        draft.settle("loss.identity.weight", lambda: Choice(IDENTITY_BESIDE_KEPT, beside))


def _decide_networks(
    draft: _Draft,
    scan: CollectionFacts,
    machine: Machine,
    given: Collection[str],
    cost: Callable[[dict[str, Any]], StepCost],
    budget: float,
) -> None:
    """Generators, the VGG-19's cadence and the steps, which share the time and the memory."""
    dims, size = draft.value("data.dims"), draft.value("data.sample_size")
    name = draft.settle("generator.name", lambda: Choice("resnet", "the papers', and measured"))
    widths: tuple[int, ...] = (draft.value("generator.ngf"),)
    if name in RESNETS:  # another's sizes are left as they are
        draft.settle("generator.blocks", lambda: choose_blocks(size))
        if not is_given("generator.ngf", given):
            widths = WIDTHS_3D if dims == 3 else WIDTHS
            # The fewest subjects of which there are many: few are learned by heart.
            widths = widths if scan.subjects >= MANY_SUBJECTS else widths[1:]
    every = _decide_cadence(draft, widths[0], given, cost)
    steps_given = is_given("training.steps", given)
    sized = widths[1:] or not steps_given or not is_given("generator.ngf", given)
    if not sized:
        return
    precision = resolved_precision(draft.value("training.precision"), machine)
    wanted = Choice(draft.value("training.steps"), "given")
    if not steps_given:
        wanted = wanted_steps(*_to_see(draft, scan))

    def at(width: int, again: bool = False) -> StepCost:
        more: dict[str, Any] = {"generator__ngf": width}
        if again:
            more["generator__checkpoint_activations"] = True
        return cost(draft.settings(**more))

    choice = choose_length(
        widths,
        wanted,
        steps_given,
        lambda width: step_seconds(at(width), every, precision, machine),
        lambda width, again: at(width, again).memory,
        name in RESNETS and not is_given("generator.checkpoint_activations", given),
        machine,
        budget,
    )
    draft.settle("generator.ngf", lambda: choice.width)
    if choice.again is not None:
        draft.settle("generator.checkpoint_activations", lambda: choice.again)
    draft.settle("training.steps", lambda: choice.steps)


def _decide_cadence(
    draft: _Draft,
    width: int,
    given: Collection[str],
    cost: Callable[[dict[str, Any]], StepCost],
) -> int:
    """How often the VGG-19's terms act, of the widest generators: the narrowest share is theirs."""
    keys = [f"loss.{term}.every_n_steps" for term in ("perceptual", "style")]
    if any(not is_given(key, given) for key in keys):
        seen = cost(draft.settings(generator__ngf=width))
        if seen.vgg_operations:
            choice = choose_cadence(seen)
            for key in keys:
                draft.settle(key, lambda: choice)
    return min(int(draft.value(key)) for key in keys)


def _to_see(draft: _Draft, scan: CollectionFacts) -> tuple[float, float]:
    """How many slices, or patches that cover the bodies, the scans have, and the dims."""
    dims, spacing = draft.value("data.dims"), draft.value("data.spacing")
    if dims != 3:
        return scan.volumes * scan.voxels[AXES[draft.value("data.plane")]], dims
    extents = [_count(scan, axis, spacing, scan.typical_body[axis], mm=True) for axis in range(3)]
    patches = math.prod(
        max(1.0, extent / side)
        for extent, side in zip(extents, draft.value("data.sample_size"), strict=True)
    )
    return scan.volumes * patches, dims


def _ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _rounded(value: float, digits: int, how: Callable[[float], int] = round) -> float:
    """To so many significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{how(round(value / unit, 6)) * unit:.{digits}g}")


def _above(value: float, step: int) -> int:
    return math.ceil(round(value / step, 6)) * step


def _below(value: float, step: int) -> int:
    return int(value // step) * step


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{seconds / 60:.0f} min"
