"""Lesion rate of translations against the share of style volumes with lesions (Cohen et al. 2018).

J. P. Cohen, M. Luck, S. Honari, "Distribution matching losses can hallucinate features in medical
image translation", MICCAI 2018.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import Phantom, Tissue, make_phantom
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.visual_effect.drawing import new_chart, png_bytes
from medstyle_gan.inference import Translator
from medstyle_gan.training import train
from medstyle_gan.volumes import Geometry, atomic_file, write_volume

TRUE_RATE = 0.5

_OWN = ("data.scans", "data.style", "data.cache.folder", "training.seed")
_SHAPE, _QUICK_SHAPE = (80, 80, 24), (48, 48, 8)
_SCANS, _STYLE, _HELD_OUT = 1, 1001, 2001  # first subject of each
# Where lesions brighten the white matter: this share of the way from it to the brightest tissue.
_BRIGHT = 0.3
_BRIGHTEST = 99.0  # percentile in the head

# The demo's, for a translator that is good enough to be asked.
_SETTINGS: dict[str, object] = {
    "data.spacing": [None, None, None],
    "data.sample_size": [80, 80],
    "data.validation_fraction": 0,
    "data.augmentation.affine": 0.3,
    "generator.ngf": 16,
    "generator.blocks": 4,
    "discriminator.ndf": 32,
    "method.generator_learning_rate": 4e-4,
    "method.discriminator_learning_rate": 6e-4,
    "method.ema_decay": 0.995,
    "loss.cycle.weight": 4,
    "loss.identity.weight": 0,
    "loss.perceptual.weight": 0.002,
    "loss.perceptual.every_n_steps": 8,
    "loss.style.every_n_steps": 8,
    "vgg.weights": "random:0",
    "training.steps": 4000,
    "logging.panel_every": 1000,
}
_QUICK: dict[str, object] = {
    "data.sample_size": [48, 48],
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
    "loss.perceptual.layers": ["relu1_2"],
    "loss.style.layers": ["relu1_1", "relu2_1"],
    "training.steps": 4,
    "logging.log_every": 4,
    "logging.panel_every": 4,
    "logging.panel_samples": 1,
}

Image = NDArray[np.float32]


@dataclass(frozen=True)
class HeldOut:
    """A subject that no run trains on, with lesions and without; all else is the same.

    Attributes:
        with_lesions: the subject.
        without: its twin.
    """

    with_lesions: Phantom
    without: Phantom

    @property
    def white_matter(self) -> NDArray[np.bool_]:
        """White matter of the twin without lesions, away from its in-plane border."""
        white = self.without.labels == Tissue.WHITE_MATTER
        inner = binary_erosion(white, np.ones((3, 3, 1), bool))
        return inner if inner.any() else white


def study_prevalence(
    out: Path,
    overrides: Sequence[str],
    shares: Sequence[float],
    subjects: int,
    held_out: int,
    quick: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train a translator for each share, and count lesions in what they make.

    Args:
        out: data, runs, `prevalence.json` and `prevalence.png`; what is complete there is kept.
        overrides: the user's `key.path=value`.
        shares: of style volumes that have lesions.
        subjects: scans and style volumes of each training.
        held_out: subjects that are translated, each with and without lesions.
        quick: sizes of a smoke test.
        say: takes a line of progress.

    Raises:
        UserError: the overrides have mistakes, or the folder holds another study.
    """
    taken = [key for key in _OWN if any(o.partition("=")[0].strip() == key for o in overrides)]
    if taken:
        raise UserError(f"the study sets {', '.join(taken)} itself; leave that out")
    _refuse_another_study(out, {"subjects": subjects, "quick": quick})
    shape = _QUICK_SHAPE if quick else _SHAPE
    configs = {share: _config(out, share, overrides, quick) for share in shares}
    scans = out / "data" / "scans"
    _write_collection(scans, _SCANS, subjects, 0.5, shape, "scan")
    for share in shares:
        _write_collection(_style_folder(out, share), _STYLE, subjects, share, shape, "style")
    twins = [
        HeldOut(*(make_phantom(_HELD_OUT + number, shape, lesions) for lesions in (True, False)))
        for number in range(held_out)
    ]
    threshold, separated = calibrate(twins)
    result: dict[str, Any] = {
        "subjects": subjects,
        "held_out": held_out,
        "steps": configs[shares[0]].training.steps,
        "true_rate": TRUE_RATE,
        "detector": {"threshold": threshold, "accuracy_on_truth": separated},
        "shares": [],
    }
    for number, (share, config) in enumerate(configs.items(), start=1):
        run = out / "runs" / f"share_{round(100 * share):03d}"
        say(f"{number} of {len(shares)}: {100 * share:.0f} % of the style volumes have lesions")
        train(config, run, resume="if_started")
        translator = Translator.load(run)

        def translate(phantom: Phantom, translator: Translator = translator) -> Image:
            translation = translator(phantom.scan, affine=phantom.affine)
            return np.asarray(translation, np.float32)

        result["shares"].append({"share": share} | lesion_rates(twins, translate, threshold))
        result |= {"slope": slope(result["shares"])}
        _write(out, result)
    return result


def lesion_score(image: Image, twins: HeldOut) -> float:
    """The share of the white matter that is as bright as lesions are in the style.

    Told by the image's own intensities, so that no gain of a translator matters.

    Args:
        image: (X, Y, Z), a true style volume of the subject or a translation.
        twins: whose.
    """
    white = image[twins.white_matter]
    base = float(np.median(white))
    brightest = float(np.percentile(image[twins.without.mask], _BRIGHTEST))
    if brightest <= base:
        return 0.0
    return float((white > base + _BRIGHT * (brightest - base)).mean())


def calibrate(twins: Sequence[HeldOut]) -> tuple[float, float]:
    """The score that tells true style volumes with and without lesions apart best.

    Returns:
        The threshold, in the middle of the widest gap that does it, and its accuracy.
    """
    ill = np.array([lesion_score(t.with_lesions.style, t) for t in twins])
    well = np.array([lesion_score(t.without.style, t) for t in twins])
    edges = np.unique(np.concatenate([[0.0], ill, well]))
    middles = (edges[1:] + edges[:-1]) / 2
    if middles.size == 0:
        return 0.0, 0.5
    accuracy = [((ill > m).mean() + (well <= m).mean()) / 2 for m in middles]
    gaps = np.where(accuracy == np.max(accuracy), np.diff(edges), -1.0)
    best = int(gaps.argmax())
    return float(middles[best]), float(accuracy[best])


def lesion_rates(
    twins: Sequence[HeldOut], translate: Callable[[Phantom], Image], threshold: float
) -> dict[str, float]:
    """How many translations have lesions, of scans that have and scans that have not.

    Returns:
        `with_lesions` and `without`: the shares of both kinds of scans whose translation shows
        lesions; `rate`: of all, as half of the scans have some.
    """
    shares = {}
    for kind in ("with_lesions", "without"):
        scores = [lesion_score(translate(getattr(t, kind)), t) for t in twins]
        shares[kind] = float(np.mean([score > threshold for score in scores]))
    return shares | {"rate": (shares["with_lesions"] + shares["without"]) / 2}


def slope(rows: Sequence[Mapping[str, float]]) -> float | None:
    """The lesion rate's rise per share: 0 is faithful, 1 is matching the style's distribution."""
    if len(rows) < 2:
        return None
    return float(np.polyfit([r["share"] for r in rows], [r["rate"] for r in rows], 1)[0])


def study_lines(result: Mapping[str, Any]) -> list[str]:
    """The figures as lines to print."""
    detector = result["detector"]
    lines = [
        f"{result['subjects']} scans (half with lesions) and style volumes, {result['steps']} "
        f"steps; {2 * result['held_out']} held-out scans, half with lesions",
        "The detector tells true style volumes with and without lesions rightly in "
        f"{100 * detector['accuracy_on_truth']:.0f} %",
        f"  {'style with lesions':>20}{'translations with':>20}{'of scans with':>16}"
        f"{'of scans without':>18}",
    ]
    lines += [
        f"  {row['share']:20.2f}{row['rate']:20.2f}{row['with_lesions']:16.2f}"
        f"{row['without']:18.2f}"
        for row in result["shares"]
    ]
    if result["slope"] is not None:
        lines.append(f"  slope {result['slope']:+.2f}: 0 is faithful, 1 follows the style's share")
    return lines


def draw(result: Mapping[str, Any]) -> bytes:
    """The curve as a PNG."""
    rows = sorted(result["shares"], key=lambda row: row["share"])
    shares = [row["share"] for row in rows]
    chart = new_chart(5.0, 3.6)
    axes = chart.subplots()
    axes.axhline(TRUE_RATE, color="#222222", linewidth=1, label="faithful: half of the scans")
    axes.plot([0, 1], [0, 1], ":", color="#777777", label="the style's share")
    for key, color, marker, label in (
        ("rate", "#d55e00", "o", "translations with lesions"),
        ("with_lesions", "#0072b2", "^", "of scans with lesions"),
        ("without", "#009e73", "v", "of scans without"),
    ):
        axes.plot(shares, [row[key] for row in rows], marker=marker, color=color, label=label)
    axes.set(
        xlabel="share of style volumes with lesions",
        ylabel="share of translations",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return png_bytes(chart)


def _config(out: Path, share: float, overrides: Sequence[str], quick: bool) -> Config:
    own: dict[str, object] = {
        "data.scans": str(out / "data" / "scans"),
        "data.style": str(_style_folder(out, share)),
        "data.cache.folder": str(out / "cache"),
    }
    settings = _SETTINGS | (_QUICK if quick else {}) | own
    return load_config(None, list(overrides), options=settings)


def _style_folder(out: Path, share: float) -> Path:
    return out / "data" / f"style_{round(100 * share):03d}"


def _write_collection(
    folder: Path, first: int, count: int, share: float, shape: tuple[int, int, int], domain: str
) -> None:
    """Writes subjects, the given share of them with lesions; files that are there stay.

    The heads are the same whatever the share, so that nothing else differs between runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"sub-{first + number:04d}.nii.gz"
        if path.exists():
            continue
        # Evenly over the subjects, whatever the share.
        lesions = int((number + 1) * share + 1e-9) > int(number * share + 1e-9)
        phantom = make_phantom(first + number, shape, lesions)
        array = getattr(phantom, domain)
        write_volume(path, array, Geometry.from_affine(array.shape, phantom.affine), phantom.dtype)


def _refuse_another_study(out: Path, settings: Mapping[str, Any]) -> None:
    """Keeps a folder to one study, and leaves a mark of which.

    Raises:
        UserError: the folder is of another.
    """
    mark = out / "study.json"
    if mark.is_file():
        before = json.loads(mark.read_text())
        if before != settings:
            raise UserError(
                f"{out}: holds a study with {before}, not {dict(settings)}; give another -o"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: is no folder of this study and not empty; give another -o")
    with atomic_file(mark) as file:
        file.write((json.dumps(settings) + "\n").encode())


def _write(out: Path, result: Mapping[str, Any]) -> None:
    with atomic_file(out / "prevalence.json") as file:
        file.write((json.dumps(result, indent=2) + "\n").encode())
    with atomic_file(out / "prevalence.png") as file:
        file.write(draw(result))
