"""Training from a config to a run folder: `train(config, out)`."""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch

from medstyle_gan.config import Config
from medstyle_gan.config.durations import seconds_in
from medstyle_gan.data.sampling import fixed_masks, fixed_samples
from medstyle_gan.data.words import OTHER, Domain
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Bundle, describe_collections, joined_state, save_bundle
from medstyle_gan.methods import METHODS, TrainedMethod
from medstyle_gan.methods.vgg_regularizer import cadence
from medstyle_gan.training.checkpoint import Circumstances
from medstyle_gan.training.checkpointing import Checkpointing
from medstyle_gan.training.config_changes import refuse_changes
from medstyle_gan.training.guard_figures import Probe, make_probe
from medstyle_gan.training.guards import Guards
from medstyle_gan.training.interruption import Interruption, Reason, ended_at_once
from medstyle_gan.training.launching import Launch, processes_of
from medstyle_gan.training.memory import describe_step, explaining_out_of_memory
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.panels import SamplePanels
from medstyle_gan.training.preparation import Prepared, prepare_training
from medstyle_gan.training.processes import mistakes_shared, refuse_differences, shared_settings
from medstyle_gan.training.profiling import Profiling
from medstyle_gan.training.progress import TrainingProgress, beside_bars
from medstyle_gan.training.resuming import find_resumed
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.run_record import made_with, record_start
from medstyle_gan.training.stopping import Stopping
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.trainer import make_trainer, needs_synced_batchnorm
from medstyle_gan.training.wandb_logger import WandbAnnouncement, make_wandb_logger
from medstyle_gan.volumes.atomic import remove_left_over

Announce = Callable[[str], None]


def train(
    config: Config,
    out: str | Path,
    resume: bool | Literal["if_started"] = False,
    announce: Announce | None = None,
    profile: bool = False,
    began: float | None = None,
) -> Path:
    """Train a translator and leave a run folder with its model.

    Args:
        config: all settings; `data.scans` and `data.style` must be given.
        out: the run folder, new or empty; with `resume`, that of the run to go on with.
        resume: go on from the newest intact checkpoint as if the run had never stopped;
            `if_started` does so where there is a checkpoint, and else begins the run.
        announce: takes a line about what was found and what will be done (a command prints
            it); None says nothing and shows no progress bar.
        profile: look into a few of the steps; what is seen goes to `profile/` in the run.
        began: `time.monotonic()` from which `training.max_time` counts; None is now.

    Returns:
        The run folder: `config.yaml`, `run.yaml`, `metrics.csv`, `samples/`, `checkpoints/`,
        `model/`.

    Raises:
        UserError: for unusable data or settings, a folder that is in use, or a resume of
            something else than this run.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written; before the first step
            at once.
        SystemExit: with code 143 after SIGTERM, 75 after SIGUSR1 or when `training.max_time` is
            over, likewise.
    """
    began = time.monotonic() if began is None else began
    _refuse_untrained(config)
    run = RunFolder(Path(out))
    begin_again = False
    if resume == "if_started":
        resume = run.checkpoints.any()
        begin_again = not resume and run.config.exists()  # stopped before its first checkpoint
    with (
        ended_at_once(announce),
        processes_of(config, run.path, resume) as launch,
        ExitStack() as lock,
    ):
        # Of several processes the first one makes the folder, writes and speaks.
        first, processes = launch.process.is_first, launch.process.world_size
        if not first:
            announce = None
        with mistakes_shared():
            refuse_differences(shared_settings(config), "the config")
            if resume or begin_again:
                before = run.read_config()  # there is a run
                if begin_again:
                    refuse_changes(before, config, step=0)
                if first:
                    lock.enter_context(run.locked())
                    remove_left_over(run.path)
            elif first:
                run.refuse_used()
            resumed = find_resumed(run, config, processes) if resume else None
            state = None if resumed is None else resumed.state
            step = 0 if state is None else state["step"]
            refuse_differences({"its step": step}, "the checkpoint to go on from")
            logger = make_wandb_logger(config, run.path) if first else None
            prepared = prepare_training(config, state, show_progress=announce is not None)
            facts = made_with(prepared.device, prepared.precision, processes)
            learned = prepared.intensity_map
            circumstances = Circumstances(
                fingerprint=prepared.data.fingerprint(),
                vgg=prepared.vgg,
                made_with=facts,
                intensity_map=None if learned is None else list(learned.values),
            )
            if first:
                if resume or begin_again:
                    run.write_config(config)
                    run.checkpoints.remove_old(config.training.keep_checkpoints, step)
                else:
                    run.create(config)
                    lock.enter_context(run.locked())
                record_start(run.record, step, facts, circumstances.fingerprint)
        if resumed is not None:
            resumed.compare(facts)
        if announce is not None:
            for notice in resumed.notices if resumed is not None else ():
                announce(notice)
            announce(prepared.summary(config))
            if step < config.training.steps:
                announce(describe_step(config, *prepared.footing))
            if prepared.validation is not None and prepared.validation.notice is not None:
                announce(prepared.validation.notice)
        if step < config.training.steps:
            limit = config.training.max_time
            interruption = Interruption(None if limit is None else began + seconds_in(limit))
            _fit(
                config,
                run,
                prepared,
                circumstances,
                state,
                logger,
                announce,
                interruption,
                profile,
                launch,
            )
        if first:
            _save_model(config, run, prepared)
            if logger is not None and config.logging.upload_model:
                logger.upload_model(run.model, prepared.method.step)
                logger.close()
    return run.path


def _refuse_untrained(config: Config) -> None:
    name = config.method.name
    if name not in METHODS:
        raise UserError(
            f"method.name={name}: {name} optimises a picture and has nothing to train; use it by  "
            f"medstyle stylize CONTENT --style STYLE -o OUT --method {name}  or train one of "
            f"{', '.join(METHODS)}"
        )


def _fit(
    config: Config,
    run: RunFolder,
    prepared: Prepared,
    circumstances: Circumstances,
    state: dict[str, Any] | None,
    logger: Any,
    announce: Announce | None,
    interruption: Interruption,
    profile: bool,
    launch: Launch,
) -> None:
    """Train to the last step, or raise what the interruption asks for."""
    if announce is not None:
        announce = beside_bars(announce)
    with interruption:
        callbacks = _callbacks(
            config, run, prepared, interruption, circumstances, state, announce, profile
        )
        if logger is not None and announce is not None:
            callbacks.insert(0, WandbAnnouncement(logger, announce))
        with warnings.catch_warnings():
            # Lightning's own remarks on hardware and loaders are not for our users.
            warnings.filterwarnings("ignore", module="lightning.*")
            synced = needs_synced_batchnorm(
                prepared.method, prepared.device, launch.process.world_size
            )
            trainer = make_trainer(
                config, prepared.precision, callbacks, logger, launch.environment, synced
            )
            try:
                with explaining_out_of_memory(config, *prepared.footing):
                    trainer.fit(prepared.method, datamodule=prepared.data)
            except SystemExit:  # Lightning's way out of a second Ctrl-C
                if interruption.noted is Reason.NONE:
                    raise
                interruption.reason = interruption.noted
        if interruption.requested and prepared.method.step < config.training.steps:
            if logger is not None:
                logger.close()
            if announce is not None:
                announce(_how_to_go_on(run, interruption.reason))
            # One exit code for all: a launcher kills what is left when one process has another.
            raise interruption.as_exception() if launch.process.is_first else SystemExit(0)


def _save_model(config: Config, run: RunFolder, prepared: Prepared) -> None:
    data = prepared.data
    save_bundle(
        Bundle(
            config=config,
            state=_generator_weights(prepared.method),
            steps=prepared.method.step,
            fingerprint=data.fingerprint(),
            vgg=prepared.vgg,
            intensity_map=prepared.intensity_map,
            **describe_collections(data.scan, data.style),
        ),
        run.model,
    )


def _how_to_go_on(run: RunFolder, reason: Reason) -> str:
    why = "the time is over: " if reason is Reason.TIME_IS_OVER else ""
    if not run.checkpoints.any():
        return f"{why}stopped before the first checkpoint: nothing to go on from"
    folder = shlex.quote(str(run.path))
    return f"{why}stopped; go on from the last checkpoint with: medstyle train --resume -o {folder}"


def _callbacks(
    config: Config,
    run: RunFolder,
    prepared: Prepared,
    interruption: Interruption,
    circumstances: Circumstances,
    state: dict[str, Any] | None,
    announce: Announce | None,
    profile: bool,
) -> list[L.Callback]:
    """In the order in which they act on a step: the clock first, the checkpoint last."""
    every, steps, seed = config.logging, config.training.steps, config.training.seed
    data, validation = prepared.data, prepared.validation
    period = cadence(config.loss)
    throughput = Throughput(period=period)
    held_out = {
        "scan": data.validation_scan or data.scan,
        "style": data.validation_style or data.style,
    }
    probes: dict[Domain, Probe] = {}
    if config.guards.enabled:
        probes = {d: make_probe(held_out[d], config.data, seed) for d in OTHER}
    guards = Guards(config, probes, run.checkpoints.last, throughput, announce)
    metrics = MetricsCSV(
        run.path / "metrics.csv", every.log_every, steps, throughput, guards.figures
    )
    panel_samples = {
        domain: fixed_samples(collection, config.data, every.panel_samples, seed)
        for domain, collection in held_out.items()
    }
    for domain, collection in held_out.items():
        masks = fixed_masks(collection, config.data, every.panel_samples, seed)
        if masks is not None:
            panel_samples[f"{domain}_mask"] = masks
    callbacks: list[L.Callback] = [
        throughput,
        *([Profiling(run.path / "profile", steps, period, throughput)] if profile else []),
        guards,
        metrics,
        SamplePanels(run.samples, every.panel_every, panel_samples, throughput, every.mark),
    ]
    if validation is not None:
        validation.attach(metrics, throughput)
        callbacks.append(validation)
    if announce is not None:
        callbacks.append(TrainingProgress(steps, throughput=throughput))
    callbacks += [
        Stopping(interruption),
        Checkpointing(
            run,
            config.training.checkpoint_every,
            config.training.keep_checkpoints,
            interruption,
            metrics,
            validation,
            throughput,
            guards,
            circumstances,
            state,
        ),
    ]
    return callbacks


def _generator_weights(method: TrainedMethod) -> dict[str, torch.Tensor]:
    generators = method.ema.generators if method.config.inference.ema else method.generators
    return joined_state({d: generator.state_dict() for d, generator in generators.items()})
