"""Scores on held-out subjects while training: paired where pairs are given, else unpaired."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.pseudo_pairs import PseudoPairs
from medstyle_gan.data.sampling import fixed_masks, fixed_samples
from medstyle_gan.data.words import DOMAINS, INTO
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import (
    find_pairs,
    mean_scores,
    score_rows,
    sliced_wasserstein_distance,
    smallest_side,
)
from medstyle_gan.evaluation.pairs import Pair, describe_missing_masks, refuse_unscorable
from medstyle_gan.inference import Translator, describe_collections
from medstyle_gan.methods import METHODS, TrainedMethod
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.processes import (
    from_first,
    gather_on_first,
    interleaved,
    mistakes_shared,
    own_part,
)
from medstyle_gan.training.pseudo_pair_score import PseudoPairScore
from medstyle_gan.training.selection import (
    body_of,
    distance_of_nothing,
    selection_score,
    structure_lost,
    style_left,
)
from medstyle_gan.training.throughput import Throughput

# Samples of each domain that unpaired validation looks at; a patch holds many slices.
_SAMPLES = {2: 32, 3: 8}
_PSEUDO_PAIR_PSNR = "pseudo_pair_psnr_scan_to_style"


class Validation(L.Callback, ABC):
    """Validates every `every` steps and at the end, and remembers the best score.

    Args:
        every: steps between validations.
        steps: steps of the whole training.

    Attributes:
        best_step: step of the best score so far; None before the first.
        best_score: that score; larger is better.
        kind: what the score is of; scores of another kind are not compared.
        notice: a line that the user should see before the training; None if there is none.
    """

    kind = "pairs"

    def __init__(self, every: int, steps: int) -> None:
        self._every = every
        self._steps = steps
        self._metrics: MetricsCSV | None = None
        self._throughput: Throughput | None = None
        self.best_step: int | None = None
        self.best_score = float("-inf")
        self.notice: str | None = None

    def attach(self, metrics: MetricsCSV, throughput: Throughput) -> None:
        """Tell it where figures go and what clocks the training."""
        self._metrics, self._throughput = metrics, throughput

    @abstractmethod
    def figures(self, method: TrainedMethod) -> dict[str, float] | None:
        """Scores by name, without the `validation/` prefix.

        All processes call it; each looks at its own part, and the first one learns the
        figures of the whole. The others get None.
        """

    @abstractmethod
    def score(self, figures: Mapping[str, float]) -> float:
        """The one number that chooses the best checkpoint; larger is better."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Validate where it is due."""
        assert isinstance(pl_module, TrainedMethod)
        assert self._metrics is not None
        assert self._throughput is not None
        step = pl_module.step
        due = step % self._every == 0 or step == self._steps
        if not due:
            return
        with self._throughput.paused():
            # The first process's word counts, to the last bit: all must agree on the best.
            figures = from_first(self.figures(pl_module))
            score = self.score(figures)
            if score > self.best_score:
                self.best_score, self.best_step = score, step
            self._metrics.log_validation(
                step, {f"validation/{name}": value for name, value in figures.items()}
            )

    def state_dict(self) -> dict[str, Any]:
        """Best step and score: plain numbers."""
        return {"best_step": self.best_step, "best_score": self.best_score, "kind": self.kind}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best so far; from a score of another kind there is none."""
        if state_dict.get("kind", "pairs") != self.kind:
            return
        self.best_step = state_dict["best_step"]
        self.best_score = state_dict["best_score"]


class PairedValidation(Validation):
    """Masked PSNR, SSIM and MAE on registered pairs, which never reach training.

    The score is the PSNR at the network's grid.

    Args:
        config: all settings.
        pairs: what to score on.
        facts: of the collections, as `describe_collections` gives them.
    """

    def __init__(self, config: Config, pairs: list[Pair], facts: dict[str, Any]) -> None:
        super().__init__(config.training.validate_every, config.training.steps)
        self._config = config
        self._pairs = pairs
        self._facts = facts
        self.notice = describe_missing_masks(pairs)

    def figures(self, method: TrainedMethod) -> dict[str, float] | None:
        """Means over the pairs."""
        generators = method.ema.generators if self._config.inference.ema else method.generators
        for generator in generators.values():
            generator.eval()
        precision = self._config.training.precision
        translator = Translator.from_generators(
            self._config, generators, precision=precision, **self._facts
        )
        with mistakes_shared():
            rows = score_rows(translator, own_part(self._pairs), self._config)
        parts = gather_on_first(rows)
        return None if parts is None else mean_scores(interleaved(parts))

    def score(self, figures: Mapping[str, float]) -> float:
        """PSNR (dB)."""
        return figures["psnr"]


class UnpairedValidation(Validation):
    """How near translations come to the style, and what of the scans they keep.

    The score is the PSNR on pseudo-pairs where there are some, and else of style and structure,
    see `selection_score`. Cycle error chooses nothing: it falls when a generator hides
    information, and says nothing on fidelity.

    Args:
        config: all settings.
        collections: domain → what is looked at, held out or not.
        pairs: pseudo-pairs of held-out scans.

    Raises:
        UserError: the samples are too small for the distance.
    """

    def __init__(
        self,
        config: Config,
        collections: Mapping[str, CachedCollection],
        pairs: PseudoPairs | None = None,
    ) -> None:
        super().__init__(config.training.validate_every, config.training.steps)
        _refuse_small(config.data.sample_size)
        count, seed = _SAMPLES[config.data.spatial_dims], config.training.seed
        self._slices = config.data.sample_slices
        self._samples = {
            domain: fixed_samples(collection, config.data, count, seed)
            for domain, collection in collections.items()
        }
        self._masks = {
            domain: fixed_masks(collection, config.data, count, seed)
            for domain, collection in collections.items()
        }
        self._pictures = {
            domain: all(volume.is_picture for volume in collection)
            for domain, collection in collections.items()
        }
        self._nothing: dict[str, float] = {}
        self._pairs = PseudoPairScore(pairs, config.data, count, seed) if pairs else None
        self.kind = "pseudo-pairs" if pairs else "style and structure"

    def figures(self, method: TrainedMethod) -> dict[str, float] | None:
        """All figures for each direction; the cycle's where there is a way back."""
        figures: dict[str, float] = {}
        for direction in method.directions:
            domain, other = DOMAINS[direction]
            there_and_back = INTO[domain] in method.directions
            images, masks = self._samples[domain], self._masks[domain]
            translated: list[tuple[Tensor, ...]] = []
            for index in own_part(range(len(images))):
                image = images[index : index + 1].to(method.device)
                mask = None if masks is None else masks[index : index + 1].to(method.device)
                ways = [method.translate(image, direction, mask=mask)]
                if there_and_back:
                    ways.append(method.translate(ways[0], INTO[domain], mask=mask))
                translated.append(tuple(way.cpu() for way in ways))
            parts = gather_on_first(translated)
            if parts is None:
                continue
            translations, *rebuilts = (torch.cat(w) for w in zip(*interleaved(parts), strict=True))
            if rebuilts:
                error = (rebuilts[0] - images).abs().mean()
                figures[f"cycle_error_{domain}"] = float(error)
            style = self._samples[other]
            if not self._pictures[domain]:  # a whole volume has the background there anyway
                translations = self._on_background(translations, domain, method, other)
            if direction not in self._nothing:
                self._nothing[direction] = distance_of_nothing(images, style)
            distance = sliced_wasserstein_distance(translations, style)
            left = style_left(distance, self._nothing[direction])
            lost = structure_lost(images, translations, masks, self._slices)
            figures[f"distance_{direction}"] = distance
            figures[f"style_left_{direction}"] = left
            figures[f"structure_lost_{direction}"] = lost
            figures[f"score_{direction}"] = selection_score(left, lost)
        psnr = None if self._pairs is None else self._pairs.psnr(method)
        if psnr is not None:
            figures[_PSEUDO_PAIR_PSNR] = psnr
        return figures or None

    def _on_background(
        self, translations: Tensor, domain: str, method: TrainedMethod, other: str
    ) -> Tensor:
        """Translations as whole volumes would have them, told by their scans' bodies."""
        masks = self._masks[domain]
        if masks is None:
            masks = body_of(self._samples[domain], self._slices)
        return torch.where(masks, translations, method.body.background[other])

    def score(self, figures: Mapping[str, float]) -> float:
        """PSNR on pseudo-pairs (dB), or nearness to both style and structure."""
        return figures["score_scan_to_style" if self._pairs is None else _PSEUDO_PAIR_PSNR]


class WatchedValidation(Validation):
    """A validation that chooses, beside figures of pairs that do not.

    Args:
        config: all settings.
        chosen_by: what gives the score.
        pairs: what is told too.
    """

    def __init__(
        self, config: Config, chosen_by: UnpairedValidation, pairs: PairedValidation
    ) -> None:
        super().__init__(config.training.validate_every, config.training.steps)
        self.kind = chosen_by.kind
        self.notice = pairs.notice
        self._chosen_by = chosen_by
        self._pairs = pairs

    def figures(self, method: TrainedMethod) -> dict[str, float] | None:
        """Those of both."""
        own, told = self._chosen_by.figures(method), self._pairs.figures(method)
        return None if own is None or told is None else own | told

    def score(self, figures: Mapping[str, float]) -> float:
        """That of the one which chooses."""
        return self._chosen_by.score(figures)


class LossValidation(Validation):
    """The terms of the loss on held-out images, for a method that is shown its style.

    The score is the negative weighted sum.

    Args:
        config: all settings.
        collections: domain → held-out collection.
    """

    kind = "loss"

    def __init__(self, config: Config, collections: Mapping[str, CachedCollection]) -> None:
        super().__init__(config.training.validate_every, config.training.steps)
        count, seed = _SAMPLES[config.data.spatial_dims], config.training.seed
        self._samples = {
            domain: fixed_samples(collection, config.data, count, seed)
            for domain, collection in collections.items()
        }

    def figures(self, method: TrainedMethod) -> dict[str, float] | None:
        """`loss` and its unweighted terms, means over pairs of a scan and a style image."""
        scans, styles = self._samples["scan"], self._samples["style"]
        rows: list[dict[str, float]] = []
        for index in own_part(range(max(len(scans), len(styles)))):
            one = {
                domain: images[index % len(images)][None].to(method.device)
                for domain, images in self._samples.items()
            }
            terms = method.held_out_terms(one)
            row = {name: float(term.value) for name, term in terms.items()}
            row["loss"] = sum(term.weight * row[name] for name, term in terms.items())
            rows.append(row)
        parts = gather_on_first(rows)
        if parts is None:
            return None
        every = interleaved(parts)
        return {name: sum(row[name] for row in every) / len(every) for name in every[0]}

    def score(self, figures: Mapping[str, float]) -> float:
        """How little is lost."""
        return -figures["loss"]


def make_validation(config: Config, data: UnpairedDataModule) -> Validation | None:
    """The validation that `training.validate_on` asks for, as far as the data allows it.

    Returns:
        None without pairs, without pseudo-pairs of held-out scans and without held-out subjects.

    Raises:
        UserError: the pairs cannot be scored on, are asked for and not there, or the samples are
            too small.
    """
    choice = config.training.validate_on
    if choice == "pairs" and not config.data.pairs.folder:
        raise UserError(
            "training.validate_on=pairs needs pairs; set data.pairs.folder (--pairs DIR), or "
            "training.validate_on=auto"
        )
    translates = bool(METHODS[config.method.name].directions)
    if config.data.pairs.folder and not translates:
        raise UserError(
            f"data.pairs: {config.method.name} is shown its style at run time and translates "
            "nothing by itself, so that there is nothing to compare with a pair; leave --pairs out"
        )
    if config.data.pairs.folder:
        pairs = find_pairs(config.data.pairs)
        refuse_unscorable(pairs, data.style.channels)
        paired = PairedValidation(config, pairs, describe_collections(data.scan, data.style))
        if choice != "unpaired":
            return paired
        return WatchedValidation(config, _unpaired(config, data), paired)
    # Pseudo-pairs of held-out scans need no held-out style.
    if translates and (choice == "unpaired" or data.validation_pairs is not None):
        return _unpaired(config, data)
    if data.validation_scan is None or data.validation_style is None:
        return None
    held_out = {"scan": data.validation_scan, "style": data.validation_style}
    if not translates:
        return LossValidation(config, held_out)
    return _unpaired(config, data)


def _unpaired(config: Config, data: UnpairedDataModule) -> UnpairedValidation:
    """On held-out subjects by domain, or all of them where none are held out."""
    looked_at = {
        "scan": data.validation_scan or data.scan,
        "style": data.validation_style or data.style,
    }
    return UnpairedValidation(config, looked_at, data.validation_pairs)


def _refuse_small(sample_size: Sequence[int]) -> None:
    """Refuses samples without a plane that the distance can look at."""
    least, size = smallest_side(), "x".join(map(str, sample_size))
    if sorted(sample_size)[-2] < least:
        raise UserError(
            f"data.sample_size {size} is too small to validate on: without pairs the distance of "
            f"translations from style images needs two sides of at least {least}; enlarge it, "
            "give --pairs, or set data.validation_fraction=0"
        )
