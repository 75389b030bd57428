"""Guards: a training that is left alone says by itself when it has gone wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.inpainting_section import InpaintingStartConfig
from medstyle_gan.data.words import DOMAINS, OTHER, Direction, Domain
from medstyle_gan.methods import METHODS
from medstyle_gan.training.divergence import diverged
from medstyle_gan.training.guard_figures import (
    Probe,
    contrast_order,
    movement,
    needed_movement,
    translate_each,
)
from medstyle_gan.training.interval import IntervalMeans
from medstyle_gan.training.observed import Observed, observed
from medstyle_gan.training.throughput import Throughput

_ADVANTAGE, _PENALTY = "guard/advantage_", "loss/gradient_penalty_"
# Of (‖∇D‖ − 1)²: gradients of norm 2 and more, a critic that grows without bound.
_LARGEST_PENALTY = 1.0
# A collapsed generator moves less than this share of what its output's intensities need.
_SHARE_OF_NEED = 0.5


class Guards(L.Callback):
    """Watches for steps that are not finite, and for generators and discriminators that fail.

    Every `guards.check_every` steps it translates a few fixed samples and takes the mean of what
    the discriminators logged since the last look. What is wrong in `guards.patience` looks in a
    row, after the warm-up, is told once. Nothing of the training changes: no random number is
    drawn and no trained network is run. Only the first rank looks; every rank counts steps
    that are not finite, so that all stop after the same one.

    Must stand before `metrics.csv` among the callbacks: its row holds this step's figures.

    Args:
        config: all settings; its `guards` and `loss.adversarial` are used.
        probes: fixed samples of each domain.
        last_good: the latest checkpoint's path.
        throughput: what clocks the training, stopped meanwhile.
        announce: takes a line; None says nothing.
    """

    def __init__(
        self,
        config: Config,
        probes: Mapping[Domain, Probe],
        last_good: Path,
        throughput: Throughput,
        announce: Callable[[str], None] | None,
    ) -> None:
        self._config = config.guards
        self._form = config.loss.adversarial.name
        self._holding = _held_by(config)
        self._steps = config.training.steps
        self._quiet = config.guards.warm_up * self._steps
        start = config.training.warm_start
        if isinstance(start, InpaintingStartConfig):  # generators are to give back their input
            self._quiet = max(self._quiet, start.steps + 1)
        self._probes = probes
        self._last_good = last_good
        self._throughput = throughput
        self._announce = announce
        self._logged = IntervalMeans()
        self._needed: dict[Direction, float] = {}
        self._figures: dict[str, float] = {}
        self._in_a_row: dict[str, int] = {}
        self._told: list[str] = []

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count, and look where a look is due.

        Raises:
            UserError: too many steps in a row were not finite.
        """
        method = observed(pl_module)
        self._count_skipped(method)
        if not self._config.enabled or not trainer.is_global_zero:
            return
        self._logged.add(
            {k: v for k, v in method.logged.items() if k.startswith((_ADVANTAGE, _PENALTY))}
        )
        if method.step % self._config.check_every == 0:
            with self._throughput.paused():
                self._look_at_generators(method, pl_module)
                self._look_at_discriminators(method.step)

    def figures(self) -> dict[str, float]:
        """The latest figures, `guard/<name>`: what a row of `metrics.csv` takes."""
        return dict(self._figures)

    def state_dict(self) -> dict[str, Any]:
        """What was told already and what is under way: plain numbers and text."""
        return {
            "logged": self._logged.state_dict(),
            "figures": dict(self._figures),
            "in_a_row": dict(self._in_a_row),
            "told": list(self._told),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as if the training had not stopped."""
        self._logged.load_state_dict(state_dict["logged"])
        self._figures = dict(state_dict["figures"])
        self._in_a_row = dict(state_dict["in_a_row"])
        self._told = list(state_dict["told"])

    # ------------------------------------------------------------------------ non-finite

    def _count_skipped(self, method: Observed) -> None:
        # A training shorter than the limit that never made an update has diverged, too.
        limit = min(self._config.skipped_in_a_row, self._steps)
        if method.step % limit and method.step != self._steps:
            return  # reading the counts makes the host wait for the device
        self._figures["guard/skipped"] = float(method.skipped)
        if method.skipped_in_a_row >= limit:
            what = (
                f"losses or gradients of the last {method.skipped_in_a_row} steps were not "
                "finite, and their updates were left out"
            )
            raise diverged(method.step, what, self._last_good)
        if method.skipped:
            self._tell(
                "non_finite",
                f"by step {method.step} losses or gradients of {method.skipped} steps were not "
                f"finite, and their updates were left out; {self._config.skipped_in_a_row} such "
                "steps in a row end the training: if more follow (guard/skipped in metrics.csv), "
                "try method.gradient_clip=1, smaller learning rates or training.precision=fp32",
            )

    # ------------------------------------------------------------------------ generators

    def _look_at_generators(self, method: Observed, module: L.LightningModule) -> None:
        for direction in method.directions:
            domain, other = DOMAINS[direction]
            probe = self._probes[domain]
            images = probe.images.to(module.device)
            translations = translate_each(images, partial(method.translate, direction=direction))
            self._judge_movement(method.step, direction, probe, translations, other)
            self._judge_contrast(method.step, direction, contrast_order(probe, translations))

    def _judge_movement(
        self, step: int, direction: Direction, probe: Probe, translations: Tensor, into: Domain
    ) -> None:
        moved = movement(probe, translations)
        self._figures[f"guard/movement_{direction}"] = moved
        if direction not in self._needed:
            self._needed[direction] = needed_movement(
                probe, self._probes[into], translations.shape[1] // probe.slices
            )
        least = min(self._config.movement, _SHARE_OF_NEED * self._needed[direction])
        self._judge(
            f"identity_{direction}",
            step,
            moved < least,
            f"{direction} hardly changes its input (by {moved:.1%} of the input's contrast); try "
            f"smaller {_listed(self._holding)}",
        )

    def _judge_contrast(self, step: int, direction: Direction, correlation: float) -> None:
        self._figures[f"guard/rank_correlation_{direction}"] = correlation
        self._judge(
            f"inversion_{direction}",
            step,
            self._config.contrast_order == "keeps" and correlation < 0,
            f"{direction} turns the contrast over (rank correlation with its input "
            f"{correlation:.2f}, where guards.contrast_order is keeps); try a new run with another "
            f"training.seed, or a larger {_listed([n for n in self._holding if 'cycle' not in n])}",
        )

    # -------------------------------------------------------------------- discriminators

    def _look_at_discriminators(self, step: int) -> None:
        means = self._logged.means()
        self._logged.clear()
        for domain in OTHER:
            advantage = means.get(f"{_ADVANTAGE}{domain}")
            if advantage is None:  # no adversarial loss, no discriminator
                continue
            penalty = means.get(f"{_PENALTY}{domain}", 0.0)
            won, gave_up = self._verdicts(advantage, penalty)
            self._judge(
                f"won_{domain}",
                step,
                won,
                f"the {domain} discriminator wins completely (advantage {advantage:.2f}), and its "
                "generator learns little from it; try a smaller "
                "method.discriminator_learning_rate or discriminator.spectral_norm=true",
            )
            self._judge(
                f"gave_up_{domain}",
                step,
                gave_up,
                f"the {domain} discriminator does not tell translations from real images "
                f"(advantage {advantage:.3f}); unless the sample panels look right, try a larger "
                "method.discriminator_learning_rate or discriminator.ndf",
            )

    def _verdicts(self, advantage: float, penalty: float) -> tuple[bool, bool]:
        """Whether a discriminator has won, and whether it has given up.

        A Wasserstein critic has no score to reach: it is lost when its gradients are not held
        near 1, and has given up when it scores real images no higher than fakes.
        """
        if self._form == "wgan_gp":
            return penalty > _LARGEST_PENALTY, advantage <= 0
        return (
            advantage > self._config.discriminator_won,
            advantage < self._config.discriminator_gave_up,
        )

    # --------------------------------------------------------------------------- telling

    def _judge(self, name: str, step: int, bad: bool, text: str) -> None:
        """Tell what has been wrong often enough in a row."""
        if step < self._quiet:
            return
        self._in_a_row[name] = self._in_a_row.get(name, 0) + 1 if bad else 0
        if self._in_a_row[name] >= self._config.patience:
            self._tell(name, f"at step {step} {text}")

    def _tell(self, name: str, text: str) -> None:
        if name in self._told:
            return
        self._told.append(name)
        if self._announce is not None:
            self._announce(f"guard: {text}")


def _held_by(config: Config) -> list[str]:
    """The weights of the terms that hold translations to their inputs, of those there are."""
    both_ways = len(METHODS[config.method.name].directions) > 1
    names = ["identity", "cycle", "perceptual"] if both_ways else ["perceptual"]
    if config.loss.contrastive.weight:
        names = ["contrastive", *names]
    return [f"loss.{name}.weight" for name in names]


def _listed(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
