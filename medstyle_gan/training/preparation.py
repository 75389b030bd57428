"""All that a training needs before its first step, with every mistake found before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from medstyle_gan.config import Config
from medstyle_gan.config.training_sections import TrainingConfig
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.intensity_map import IntensityMap, learn_intensity_map
from medstyle_gan.data.progress import FilesProgress
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import find_pairs
from medstyle_gan.methods import METHODS, TrainedMethod
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.sizes import check_sizes
from medstyle_gan.training.checkpoint import restore_networks
from medstyle_gan.training.compilation import compile_networks, refuse_without_compiler
from medstyle_gan.training.config_changes import flat_fields
from medstyle_gan.training.memory import explaining_out_of_memory
from medstyle_gan.training.processes import first_on_machine, refuse_differences
from medstyle_gan.training.regularizer import load_features, make_regularizer
from medstyle_gan.training.run_record import refuse_changed_data, refuse_other_weights
from medstyle_gan.training.validation import Validation, make_validation


@dataclass(frozen=True)
class Prepared:
    """What a training is made of.

    Attributes:
        data: ready to be drawn from.
        method: at the step that the training begins with.
        validation: None where nothing can be validated on.
        vgg: what the VGG-19's weights are known by; None without its terms.
        device: where it trains.
        precision: arithmetic of the networks.
        intensity_map: what pseudo-pairs tell of intensities alone; None without them.
    """

    data: UnpairedDataModule
    method: TrainedMethod
    validation: Validation | None
    vgg: str | None
    device: torch.device
    precision: Precision
    intensity_map: IntensityMap | None = None

    @property
    def footing(self) -> tuple[dict[str, int], Precision, torch.device]:
        """What the memory of a step depends on besides the config, as `training.memory` asks."""
        return self.method.channels, self.precision, self.device

    def summary(self, config: Config) -> str:
        """One line on what was found and what will be done."""
        data, training, start = self.data, config.training, self.method.step
        held_out = (data.validation_scan, data.validation_style)
        # A patch of each volume, or each of its slices, is what an epoch goes by.
        in_3d = config.data.dims == 3
        samples = len(data.scan) if in_3d else sum(len(volume) for volume in data.scan)
        size = "x".join(map(str, config.data.sample_size))
        batch = str(training.batch_size)
        if training.accumulate > 1:
            batch = f"{training.accumulate} x {batch}"
        several = ""
        if training.world_size > 1:
            several = (
                f" each on {training.world_size} processes ({training.global_batch_size} together; "
                "learning rates as configured, however many there are)"
            )
        warm = ""
        if start < training.warm_start.steps:
            holes = "images with holes, which the generators fill"
            on = holes if data.pseudo_pairs is None else data.pseudo_pairs.describe()
            warm = f"; the first {training.warm_start.steps} steps are a warm start on {on}"
        if training.warm_start.kept:
            warm += "; pseudo-pairs are kept in the game"
        pairs = "" if data.subject_pairs is None else f"; {data.subject_pairs.describe()}"
        if data.validation_pairs is not None:
            pairs += f"; the best checkpoint is chosen on {data.validation_pairs.describe()}"
        compiled = ", compiled," if training.compile else ""
        chosen = ""
        if training.precision == "auto":
            chosen = f" (auto: it has {'' if self.precision == 'bf16' else 'no '}native bf16)"
        first = f"from step {start} " if start else ""
        what = (
            f"training {config.method.name} {first}to step {training.steps} on {size} samples, "
            f"batch {batch}{several}, {self.precision}{compiled} on {self.device.type}{chosen}, "
            f"{math.ceil(samples / training.global_batch_size)} steps an epoch of {samples} scan "
            f"samples{warm}{pairs}"
        )
        if start >= training.steps:
            what = f"the training stands at its last step ({start}) already"
        return (
            f"{len(data.scan)} scans of {len(data.scan.subjects)} subjects, {len(data.style)} "
            f"style items of {len(data.style.subjects)} subjects "
            f"({sum(len(c) for c in held_out if c is not None)} more held out); {what}"
        )


def prepare_training(config: Config, state: dict[str, Any] | None, show_progress: bool) -> Prepared:
    """Read the data and make the networks; nothing is written but the cache.

    Args:
        config: all settings.
        state: contents of the checkpoint to go on from; None begins at step 0.
        show_progress: draw a bar while volumes are prepared.

    Raises:
        UserError: for unusable data or settings.
    """
    # Mistakes that can be seen at once must not wait until all volumes are prepared.
    device = training_device(config.training)
    precision = resolve_precision(config.training.precision, device)
    refuse_without_compiler(config)
    if config.data.pairs.folder:
        find_pairs(config.data.pairs)
    features = load_features(config)
    vgg = None if features is None else features.identity()
    refuse_differences({"their SHA-256": vgg}, "the weights of the VGG-19 (vgg.weights)")
    if state is not None:
        refuse_other_weights(state["vgg"], vgg)
    data = UnpairedDataModule(config)
    with FilesProgress("preparing") as progress:
        data.on_progress = progress.show if show_progress else None
        first_on_machine(data.prepare_data)
        data.on_progress = None
    data.setup("fit")
    refuse_differences(flat_fields(data.fingerprint()), "the data")
    if config.data.pairing != "none":
        with FilesProgress("pairing") as progress:
            data.on_progress = progress.show if show_progress else None
            first_on_machine(data.prepare_pairs)
            data.on_progress = None
    warm = config.training.warm_start
    if state is None or state["step"] < warm.steps or warm.kept:
        with FilesProgress("registering") as progress:
            data.on_progress = progress.show if show_progress else None
            first_on_machine(data.prepare_warm_start)
            data.on_progress = None
    unregistered = _prepare_validation_pairs(data, show_progress)
    learned = _intensity_map(config, data, state)
    if state is not None:
        refuse_changed_data(state["fingerprint"], data.fingerprint())
    slices = config.data.sample_slices
    channels = {"scan": data.scan.channels * slices, "style": data.style.channels * slices}
    with explaining_out_of_memory(config, channels, precision, device):
        regularizer = make_regularizer(config, features, data, device, precision)
    # The networks' start must not depend on what was made before them.
    L.seed_everything(config.training.seed, verbose=False)
    method: TrainedMethod = METHODS[config.method.name](
        config, channels["scan"], channels["style"], regularizer
    )
    method.body.background = {
        "scan": data.scan.unit_background,
        "style": data.style.unit_background,
    }
    _refuse_sample_size(config, method)
    if state is not None:
        restore_networks(method, state)
        data.start_step = method.step
    validation = make_validation(config, data)
    if validation is not None and validation.notice is None:
        validation.notice = unregistered
    if validation is not None and state is not None and state["best"] is not None:
        validation.load_state_dict(state["best"])
    compile_networks(method, config)
    return Prepared(data, method, validation, vgg, device, precision, learned)


def _prepare_validation_pairs(data: UnpairedDataModule, show_progress: bool) -> str | None:
    """Registers held-out scans; a line for the user where that cannot be done.

    A training goes on without them: style and structure choose too.
    """
    unregistered: list[str] = []

    def prepare() -> None:
        try:
            data.prepare_validation_pairs()
        except UserError:
            unregistered.append(
                "held-out scans cannot be registered to style volumes of other subjects: style "
                "and structure choose the best checkpoint"
            )

    with FilesProgress("registering") as progress:
        data.on_progress = progress.show if show_progress else None
        first_on_machine(prepare)
        data.on_progress = None
    pairs = data.validation_pairs
    refuse_differences({"held-out pseudo-pairs": pairs and len(pairs.kept)}, "the data")
    return unregistered[0] if unregistered else None


def _intensity_map(
    config: Config, data: UnpairedDataModule, state: dict[str, Any] | None
) -> IntensityMap | None:
    """Learned where there are pseudo-pairs; after the warm start that of the checkpoint."""
    if data.pseudo_pairs is not None:
        return learn_intensity_map(data.pseudo_pairs, config.data.plane)
    return None if state is None else IntensityMap.read(state.get("intensity_map"))


def training_device(training: TrainingConfig) -> torch.device:
    """Where a training runs.

    Raises:
        UserError: it was to be a GPU, and there is none.
    """
    wanted = training.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("training.accelerator is gpu, but torch finds no GPU; use auto or cpu")
    on_gpu = wanted != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _refuse_sample_size(config: Config, method: TrainedMethod) -> None:
    """Refuses a sample that the networks cannot take, before the run's folder is made."""
    sample = torch.empty(1, 1, *config.data.sample_size, device="meta")
    for generator in method.generators.values():
        divisor, minimum = generator.divisor, generator.minimum_size
        check_sizes(sample, int(divisor), int(minimum))  # type: ignore[arg-type]
    if config.loss.adversarial.weight:
        for discriminator in method.discriminators.values():
            check_sizes(sample, minimum=int(discriminator.minimum_size))  # type: ignore[arg-type]
    if method.registration_network is not None:
        check_sizes(sample, minimum=method.registration_network.minimum_size)
