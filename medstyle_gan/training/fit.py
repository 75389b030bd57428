"""Training from a config to a run folder: `train(config, out)`."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from medstyle_gan.config import Config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.sampling import fixed_samples
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import find_pairs
from medstyle_gan.inference import Bundle, describe_collections, save_bundle
from medstyle_gan.methods import METHODS, CycleGAN
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.sizes import check_sizes
from medstyle_gan.training.checkpoint import load_checkpoint, refuse_changes, restore_networks
from medstyle_gan.training.checkpointing import Checkpointing
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.panels import SamplePanels
from medstyle_gan.training.processes import is_first_process
from medstyle_gan.training.progress import PreparationProgress, TrainingProgress
from medstyle_gan.training.regularizer import make_regularizer
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.trainer import make_trainer
from medstyle_gan.training.validation import Validation, make_validation
from medstyle_gan.training.wandb_logger import WandbAnnouncement, make_wandb_logger

Announce = Callable[[str], None]


def train(
    config: Config, out: str | Path, resume: bool = False, announce: Announce | None = None
) -> Path:
    """Train a translator and leave a run folder with its model.

    Args:
        config: all settings; `data.scans` and `data.style` must be given.
        out: the run folder, new or empty; with `resume`, that of the run to go on with.
        resume: go on from `checkpoints/last.ckpt` as if the run had never stopped.
        announce: takes a line about what was found and what will be done (a command prints
            it); None says nothing and shows no progress bar.

    Returns:
        The run folder: `config.yaml`, `metrics.csv`, `samples/`, `checkpoints/`, `model/`.

    Raises:
        UserError: for unusable data or settings, a folder that is in use, or a resume of
            something else than this run.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
        SystemExit: with code 143 after SIGTERM, likewise.
    """
    run = RunFolder(Path(out))
    state = _checkpoint_of(run, config) if resume else None
    data = UnpairedDataModule(config)
    # Of several processes the first one makes the folder, writes and speaks.
    first = is_first_process()
    if not first:
        announce = None
    if not resume and first:
        run.refuse_used()
    # Mistakes that can be seen at once must not wait until all volumes are prepared.
    device = _device(config)
    precision = resolve_precision(config.training.precision, device)
    logger = make_wandb_logger(config, run.path)
    if config.data.pairs.folder:
        find_pairs(config.data.pairs)
    with PreparationProgress() as progress:
        data.on_progress = None if announce is None else progress.show
        data.prepare_data()
        data.on_progress = None
    data.setup("fit")
    _seed(config.training.seed)
    collections = {"scan": data.scan, "style": data.style}
    regularizer = make_regularizer(config, collections, device, precision)
    # Seeded again: the networks' start must not depend on what was made before them.
    _seed(config.training.seed)
    method: CycleGAN = METHODS[config.method.name](
        config, data.scan.channels, data.style.channels, regularizer
    )
    _refuse_sample_size(config, method)
    if state is not None:
        restore_networks(method, state)
        data.start_step = method.step
    validation = make_validation(config, data)
    if validation is not None and state is not None and state["best"] is not None:
        validation.load_state_dict(state["best"])
    if first and resume:
        run.write_config(config)
    elif first:
        run.create(config)
    if announce is not None:
        announce(_summary(config, data, device, precision, method.step))
        if validation is not None and validation.notice is not None:
            announce(validation.notice)
    with Interruption() as interruption:
        if method.step < config.training.steps:
            callbacks = _callbacks(
                config, run, data, validation, interruption, state, announce is not None
            )
            if logger is not None and announce is not None:
                callbacks.insert(0, WandbAnnouncement(logger, announce))
            with warnings.catch_warnings():
                # Lightning's own remarks on hardware and loaders are not for our users.
                warnings.filterwarnings("ignore", module="lightning.*")
                trainer = make_trainer(config, precision, callbacks, logger)
                try:
                    trainer.fit(method, datamodule=data)
                except SystemExit:  # Lightning's way out of SIGTERM and of a second Ctrl-C
                    if not interruption.requested:
                        raise
        if interruption.requested and method.step < config.training.steps:
            if announce is not None:
                announce(_how_to_go_on(run))
            raise interruption.as_exception()
    if first:
        save_bundle(
            Bundle(
                config=config,
                state=_generator_weights(method),
                steps=method.step,
                fingerprint=data.fingerprint(),
                **describe_collections(data.scan, data.style),
            ),
            run.model,
        )
    return run.path


def _checkpoint_of(run: RunFolder, config: Config) -> dict[str, Any]:
    refuse_changes(run.read_config(), config)
    state = load_checkpoint(run.last)
    if state["method"] != config.method.name:
        raise UserError(f"{run.last}: a checkpoint of {state['method']}, not {config.method.name}")
    return state


def _seed(seed: int) -> None:
    L.seed_everything(seed, verbose=False)


def _device(config: Config) -> torch.device:
    wanted = config.training.accelerator
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("training.accelerator is gpu, but torch finds no GPU; use auto or cpu")
    on_gpu = wanted != "cpu" and torch.cuda.is_available()
    if on_gpu and config.training.devices > torch.cuda.device_count():
        raise UserError(
            f"training.devices is {config.training.devices}, but this machine has "
            f"{torch.cuda.device_count()} GPU(s)"
        )
    return torch.device("cuda" if on_gpu else "cpu")


def _refuse_sample_size(config: Config, method: CycleGAN) -> None:
    """Refuses a sample that the networks cannot take, before the run's folder is made."""
    sample = torch.empty(1, 1, *config.data.sample_size, device="meta")
    for generator in method.generators.values():
        divisor, minimum = generator.divisor, generator.minimum_size
        check_sizes(sample, int(divisor), int(minimum))  # type: ignore[arg-type]
    if config.loss.adversarial.weight:
        for discriminator in method.discriminators.values():
            check_sizes(sample, minimum=int(discriminator.minimum_size))  # type: ignore[arg-type]


def _how_to_go_on(run: RunFolder) -> str:
    if not run.last.exists():
        return "stopped before the first checkpoint: nothing to go on from"
    folder = shlex.quote(str(run.path))
    return f"stopped; go on from the last checkpoint with: medstyle train --resume -o {folder}"


def _callbacks(
    config: Config,
    run: RunFolder,
    data: UnpairedDataModule,
    validation: Validation | None,
    interruption: Interruption,
    state: dict[str, Any] | None,
    show_progress: bool,
) -> list[L.Callback]:
    """In the order in which they act on a step: the clock first, the checkpoint last."""
    every, steps, seed = config.logging, config.training.steps, config.training.seed
    throughput = Throughput()
    metrics = MetricsCSV(run.path / "metrics.csv", every.log_every, steps, throughput)
    panel_samples = {
        domain: fixed_samples(collection, config.data, every.panel_samples, seed)
        for domain, collection in (
            ("scan", data.validation_scan or data.scan),
            ("style", data.validation_style or data.style),
        )
    }
    callbacks: list[L.Callback] = [
        throughput,
        metrics,
        SamplePanels(run.samples, every.panel_every, panel_samples, throughput),
    ]
    if validation is not None:
        validation.attach(metrics, throughput)
        callbacks.append(validation)
    if show_progress:
        callbacks.append(TrainingProgress(steps))
    every_checkpoint = config.training.checkpoint_every
    callbacks.append(
        Checkpointing(run, every_checkpoint, interruption, metrics, validation, throughput, state)
    )
    return callbacks


def _generator_weights(method: CycleGAN) -> dict[str, torch.Tensor]:
    generators = method.ema.generators if method.config.inference.ema else method.generators
    return {
        f"{direction}.{name}": tensor
        for direction, generator in generators.items()
        for name, tensor in generator.state_dict().items()
    }


def _summary(
    config: Config,
    data: UnpairedDataModule,
    device: torch.device,
    precision: Precision,
    start_step: int,
) -> str:
    scans, styles = len(data.scan), len(data.style)
    held_out = sum(len(c) for c in (data.validation_scan, data.validation_style) if c is not None)
    size = "x".join(map(str, config.data.sample_size))
    first = f"from step {start_step} " if start_step else ""
    return (
        f"{scans} scans of {len(data.scan.subjects)} subjects, {styles} style items of "
        f"{len(data.style.subjects)} subjects ({held_out} more held out); training "
        f"{config.method.name} {first}to step {config.training.steps} on {size} samples, "
        f"batch {config.training.batch_size}, {precision} on {device.type}"
    )
