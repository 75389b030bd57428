"""The data of a training: collections found, split, cached and drawn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from medstyle_gan.config import Config
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.cache_entry import NO_PATCHES
from medstyle_gan.data.cache_files import cache_folder
from medstyle_gan.data.collection import Collection, check_distinct, find_collection
from medstyle_gan.data.held_out import refuse_scored_pairs, without_pairs
from medstyle_gan.data.pair_refinement import refine_pseudo_pairs
from medstyle_gan.data.paired_sampling import PairedDataset
from medstyle_gan.data.pseudo_pairs import PseudoPairs, make_pseudo_pairs
from medstyle_gan.data.sample_size import sample_size_fault
from medstyle_gan.data.sampling import GlobalIndexSampler, UnpairedDataset
from medstyle_gan.data.splitting import Split, split_by_subject
from medstyle_gan.data.subject_pairs import SubjectPairs, make_subject_pairs
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.networks.precision import resolve_precision
from medstyle_gan.volumes import is_picture

# Share of the subjects held out where nothing is said and no pairs are given.
_HELD_OUT = 0.2
# Registrations of held-out scans at most: enough to choose by, and some seconds each.
_VALIDATION_PAIRS = 6


class UnpairedDataModule(lightning.LightningDataModule):
    """Builds the cache, splits by subject and makes the training loader.

    The trainer must be made with `use_distributed_sampler=False`: the sampler knows the
    ranks already, and Lightning's would shuffle what is keyed by index.

    Attributes (after `setup`):
        scan, style: training collections.
        validation_scan, validation_style: held-out subjects; None where there are none.
        split: the files of each of them.
        pseudo_pairs: what a warm start learns from; None before `prepare_warm_start`.
        validation_pairs: pseudo-pairs of held-out scans, which choose checkpoints; None before
            `prepare_validation_pairs`, and where there are none.
        subject_pairs: declared pairs; None before `prepare_pairs`, and where none are declared.
        start_step: first step of the loader; set it before fitting to resume.
        on_progress: called while the cache is built with (what is prepared: a domain or
            `pseudo-pairs` or `pairs`, files done, files in all).

    Args:
        config: the run's.
    """

    scan: CachedCollection
    style: CachedCollection
    validation_scan: CachedCollection | None
    validation_style: CachedCollection | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        self._split: Split | None = None
        self._ready = False
        self.pseudo_pairs: PseudoPairs | None = None
        self.validation_pairs: PseudoPairs | None = None
        self.subject_pairs: SubjectPairs | None = None
        self.start_step = 0
        self.on_progress: Callable[[str, int, int], None] | None = None

    @property
    def split(self) -> Split:
        """The files of the four parts; found and checked at first use.

        Raises:
            UserError: a collection is missing, empty, the same as the other, or pictures where
            samples are 3-D.
        """
        if self._split is None:
            data = self._config.data
            scan, style = (self._find(domain) for domain in ("scan", "style"))
            check_distinct(scan, style)
            share = data.validation_fraction
            if share is None:
                # Pairs validate better, where they are what chooses.
                share = 0.0 if self._config.chosen_by_pairs else _HELD_OUT
            self._split = split_by_subject(scan, style, share, self._config.training.seed)
        return self._split

    def _find(self, domain: Domain) -> Collection:
        data = self._config.data
        spec = data.scans if domain == "scan" else data.style
        option = "scans" if domain == "scan" else "style"
        if not spec:
            raise UserError(
                f"no {domain} collection is given; set data.{option} (or --{option}) to a "
                "folder, a glob or a list of files"
            )
        collection = without_pairs(find_collection(spec, data.subject_pattern), data)
        pictures = [item.path.name for item in collection if is_picture(item.path)]
        if data.dims != 2 and pictures:  # before volumes are prepared for nothing
            raise UserError(
                f"the {domain} collection has pictures ({pictures[0]}), and data.dims is "
                f"{data.dims}: {NO_PATCHES}"
            )
        return collection

    def prepare_data(self) -> None:
        """Build the cache (one process a machine does this).

        Raises:
            UserError: as `split`, and files that are unusable, all named.
        """
        self._prepare()

    def setup(self, stage: str | None = None) -> None:
        """Open the cached collections; does nothing the second time.

        Raises:
            UserError: as `prepare_data`, and a sample larger than every volume.
        """
        if self._ready:
            return
        scan, style = self._prepare()
        for collection in (scan, style):
            in_3d = self._config.data.dims == 3
            if self._config.data.dims == 2.5 and collection.channels != 1:
                raise UserError(
                    f"the {collection.domain} collection is in colour, and data.dims is 2.5, where "
                    "the channels of a sample are neighbouring slices; set data.dims=2"
                )
            sizes = [volume.grid if in_3d else volume.shape[2:] for volume in collection]
            fault = sample_size_fault(sizes, self._config.data.sample_size, collection.domain)
            if fault:
                raise UserError(fault)
        train_scan, train_style = (
            scan.select(self.split.train_scan),
            style.select(self.split.train_style),
        )
        assert train_scan is not None  # a split keeps one subject a side
        assert train_style is not None
        self.scan, self.style = train_scan, train_style
        self.validation_scan = scan.select(self.split.validation_scan)
        self.validation_style = style.select(self.split.validation_style)
        self._ready = True

    def prepare_warm_start(self) -> None:
        """Register pseudo-pairs of the training collections, where there is a warm start.

        After `setup`. What is in the cache already is opened.

        Raises:
            UserError: as `make_pseudo_pairs`.
        """
        training = self._config.training
        start = training.warm_start
        if not isinstance(start, WarmStartConfig):  # only that one is of registered scans
            return
        if not start.steps or self.pseudo_pairs is not None:
            return
        self.pseudo_pairs = make_pseudo_pairs(
            self.scan,
            self.style,
            start,
            self._config.data.plane,
            cache_folder(self._config.data.cache),
            training.seed,
            self._report("pseudo-pairs"),
        )
        if start.refine:
            self.pseudo_pairs = refine_pseudo_pairs(
                self.pseudo_pairs,
                self.scan,
                self.style,
                self._config.data,
                cache_folder(self._config.data.cache),
                training.seed,
                resolve_precision(training.precision, torch.device("cpu")),
                self._report("refinement"),
            )

    def prepare_validation_pairs(self) -> None:
        """Register held-out scans to style volumes of others, to choose checkpoints by them.

        Where there is a warm start on registered scans, scans are held out, and pairs do not
        choose. After `setup`. What is in the cache already is opened.

        Raises:
            UserError: as `make_pseudo_pairs`.
        """
        start, scans = self._config.training.warm_start, self.validation_scan
        if not isinstance(start, WarmStartConfig) or not start.steps:
            return
        if scans is None or self._config.chosen_by_pairs:
            return
        style = CachedCollection([*self.style, *(self.validation_style or ())], "style")
        self.validation_pairs = make_pseudo_pairs(
            scans,
            style,
            start.model_copy(update={"pairs": min(start.pairs, _VALIDATION_PAIRS)}),
            self._config.data.plane,
            cache_folder(self._config.data.cache),
            self._config.training.seed,
            self._report("validation"),
        )

    def prepare_pairs(self) -> None:
        """Bring declared pairs of the training collections together, where there are some.

        After `setup`. What is in the cache already is opened.

        Raises:
            UserError: as `make_subject_pairs`, and a pair that is for scoring, too.
        """
        data = self._config.data
        if data.pairing == "none" or self.subject_pairs is not None:
            return
        refuse_scored_pairs([v.item.path for v in (*self.scan, *self.style)], data)
        self.subject_pairs = make_subject_pairs(
            self.scan, self.style, data.plane, cache_folder(data.cache), self._report("pairs")
        )

    def _prepare(self) -> tuple[CachedCollection, CachedCollection]:
        parts: list[CachedCollection] = []
        domains: tuple[Domain, Domain] = ("scan", "style")
        for domain in domains:
            train = getattr(self.split, f"train_{domain}")
            held_out = getattr(self.split, f"validation_{domain}")
            whole = Collection((*train.items, *held_out.items), train.source)
            masks = self._config.uses_masks
            report = self._report(domain)
            parts.append(prepare_collection(whole, self._config.data, domain, report, masks))
        return parts[0], parts[1]

    def _report(self, domain: str) -> Callable[[int, int], None] | None:
        callback = self.on_progress
        if callback is None:
            return None
        return lambda done, total: callback(domain, done, total)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Steps `{"scan", "style", "index"}` from `start_step` to the run's last one.

        With masks and heights where the config uses them, see `UnpairedDataset`; of declared
        pairs where there are some, see `PairedDataset`.

        Those of a warm start, and others where it is kept, are of pseudo-pairs, see there.
        Each holds all the samples that the rank sees in it, `accumulate` x `batch_size`.
        """
        training, workers = self._config.training, self._config.data.workers
        self.prepare_warm_start()
        self.prepare_pairs()
        samples = training.batch_size * training.accumulate  # the method cuts them in parts
        warm_steps = 0 if self.pseudo_pairs is None else training.warm_start.steps
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        unpaired = UnpairedDataset(
            self.scan,
            self.style,
            self._config.data,
            training.seed,
            length=training.steps * samples * world_size,
            pseudo_pairs=self.pseudo_pairs,
            warm_samples=warm_steps * samples * world_size,
            masks=self._config.uses_masks,
            heights=self._config.uses_heights,
            kept=training.warm_start.kept,
        )
        dataset: Dataset[dict[str, Any]] = unpaired
        if self.subject_pairs is not None:
            dataset = PairedDataset(
                unpaired,
                self.subject_pairs,
                self._config.data,
                training.seed,
                warm_samples=training.warm_start.steps * samples * world_size,
                masks=self._config.uses_masks,
                heights=self._config.uses_heights,
            )
        sampler = GlobalIndexSampler(training.steps, samples, rank, world_size, self.start_step)
        return DataLoader(
            dataset,
            batch_size=samples,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # The loader seeds its workers from this, not from the training's own generator,
            # whose state would otherwise depend on how often a loader was made.
            generator=torch.Generator().manual_seed(training.seed),
        )

    def fingerprint(self) -> dict[str, Any]:
        """What the training data is like; holds no path and no name."""
        return {
            domain: {
                **collection.fingerprint(),
                "scale": collection.scale.as_dict(),
                "background": collection.background,
                "validation_subjects": len(held_out.subjects) if held_out else 0,
                "validation_contents": held_out.fingerprint()["contents"] if held_out else None,
            }
            for domain, collection, held_out in (
                ("scan", self.scan, self.validation_scan),
                ("style", self.style, self.validation_style),
            )
        }
