"""Writes a reader study: shuffled slices, a form to rate them in, and the key in another folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from medstyle_gan.data.slices import display_image, stacked_axis
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import Array, Candidate, Mask, Subject
from medstyle_gan.evaluation.context import RealVolume
from medstyle_gan.evaluation.visual_effect.body_slices import BLACK, body_positions, body_slices
from medstyle_gan.evaluation.visual_effect.reader_study.files import FORMAT, StudyFiles
from medstyle_gan.volumes import atomic_folder, write_picture

_LEAST = 4
_SAME_SIZE = 0.01  # of a pixel's side
_READ_ME = """Reader study: {count} slices, in no order.

Open form.html in a browser, on this computer and without a network. Say of each slice whether it is
a real image or one that was computed, and how good it is. At the end save the file of ratings and
send it back. Please do not look at the pictures beforehand, nor talk about them with other readers.
"""


def write_reader_study(
    folder: str | Path,
    count: int,
    subjects: Sequence[Subject],
    translation: Candidate,
    style: Sequence[RealVolume],
    plane: str = "axial",
    seed: int = 0,
    model_hash: str = "",
) -> StudyFiles:
    """Draws real and translated slices, half of each, and writes them with a form.

    Slices are drawn from the same relative heights of the body, each volume as often as another,
    no slice twice. All are cut to the body, black around it, of one size and one pixel size, and
    their names and times say nothing. Real slices are those of the style collection: the truth of
    a translation beside it would tell which is which.

    Args:
        folder: where to; must not exist.
        count: slices in all, at least 4.
        subjects: whose scans are translated.
        translation: the translator.
        style: the real volumes.
        plane: the plane of the slices.
        seed: of the draw, the order and the names.
        model_hash: of the translator; the key holds it, so that ratings get into no other
            model's report.

    Returns:
        Where everything is. `for_readers` is given to readers, `key` is kept, and what readers
        send back goes to `ratings`.

    Raises:
        UserError: there are fewer slices than asked for, no real volume, or the folder exists.
    """
    root = Path(folder)
    if count < _LEAST:
        raise UserError(f"reader study of {count} slices: at least {_LEAST} are needed")
    if not style:
        raise UserError(
            "a reader study needs real style volumes to mix with the translations; give the style "
            "collection (--style)"
        )
    rng = np.random.default_rng([seed, count])
    # An odd slice falls to either side, or readers could count.
    translated = count // 2 + int(count % 2 and rng.integers(2))
    spacing = _pixel([s.spacing for s in subjects] + [v.spacing for v in style], plane)

    def translated_volume(place: int) -> tuple[Array, Mask, tuple[float, float, float]]:
        subject = subjects[place]
        return translation(subject.scan, subject.mask), subject.mask, subject.spacing

    def real_volume(place: int) -> tuple[Array, Mask, tuple[float, float, float]]:
        return *style[place].load(), style[place].spacing

    slices: list[tuple[Array, dict[str, object]]] = []
    for kind, number, volumes, load, names in (
        ("translated", translated, len(subjects), translated_volume, [s.name for s in subjects]),
        ("real", count - translated, len(style), real_volume, [v.subject for v in style]),
    ):
        for place, heights in _shared_out(number, volumes, rng):
            array, mask, own = load(place)
            positions = _positions(mask, plane, heights, kind, count)
            images, _ = body_slices(array, mask, plane, positions)
            for position, image in zip(positions, images, strict=True):
                shown = _resized(image, _in_plane(own, plane), spacing)
                slices.append((shown, {"kind": kind, "of": names[place], "slice": position}))
    order = rng.permutation(len(slices))
    names_of = _names(len(slices), rng)
    shape = [max(image.shape[axis] for image, _ in slices) for axis in (0, 1)]
    with atomic_folder(root) as temporary:
        study = StudyFiles(temporary)
        for made in (study.images, study.key.parent, study.ratings):
            made.mkdir(parents=True)
        key: dict[str, dict[str, object]] = {}
        for name, index in zip(names_of, order, strict=True):
            image, what = slices[index]
            write_picture(study.images / f"{name}.png", _displayed(image, shape))
            key[name] = what
        identity = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        _write_form(study, identity, names_of)
        study.key.write_text(
            json.dumps(
                {"format": FORMAT, "study": identity, "model_hash": model_hash, "images": key},
                indent=1,
            ),
            encoding="utf-8",
        )
        (study.for_readers / "README.txt").write_text(
            _READ_ME.format(count=count), encoding="utf-8"
        )
        for file in study.images.iterdir():  # or the order of writing would be left
            os.utime(file, (0, 0))
    return StudyFiles(root)


def _shared_out(
    count: int, volumes: int, rng: np.random.Generator
) -> list[tuple[int, list[float]]]:
    """(volume, relative heights in [0, 1) of its slices) that make `count` slices in all."""
    heights = rng.permutation((np.arange(count) + rng.random(count)) / count)
    drawn = [int(place) for _ in range(-(-count // volumes)) for place in rng.permutation(volumes)]
    drawn = drawn[:count]
    return [
        (place, [float(h) for h, owner in zip(heights, drawn, strict=True) if owner == place])
        for place in sorted(set(drawn))
    ]


def _positions(
    mask: Mask, plane: str, heights: Sequence[float], kind: str, count: int
) -> list[int]:
    """The slices nearest to relative heights, no slice twice."""
    places = body_positions(mask, plane, mask.shape[stacked_axis(plane)])
    if len(heights) > len(places):
        raise UserError(
            f"reader study of {count} slices: one of the {kind} volumes would have to give "
            f"{len(heights)}, and has {len(places)}; ask for fewer, or give more volumes"
        )
    free, taken = list(range(len(places))), []
    for height in heights:
        nearest = min(free, key=lambda place: abs((place + 0.5) / len(places) - height))
        free.remove(nearest)
        taken.append(places[nearest])
    return taken


def _in_plane(spacing: tuple[float, float, float], plane: str) -> tuple[float, float]:
    across, up = (spacing[axis] for axis in range(3) if axis != stacked_axis(plane))
    return across, up


def _pixel(spacings: Sequence[tuple[float, float, float]], plane: str) -> float:
    """The side of the square pixels (mm) that all slices are shown with: the smallest there is."""
    return min(min(_in_plane(spacing, plane)) for spacing in spacings)


def _resized(image: Array, own: tuple[float, float], pixel: float) -> Array:
    factors = [side / pixel for side in own]
    if all(abs(factor - 1) < _SAME_SIZE for factor in factors):
        return image
    return zoom(image, factors, order=1, mode="nearest", grid_mode=True)


def _displayed(image: Array, shape: Sequence[int]) -> np.ndarray:
    """uint8 (rows, columns) of one size, the slice in the middle."""
    before = [(target - side) // 2 for target, side in zip(shape, image.shape, strict=True)]
    after = [t - s - b for t, s, b in zip(shape, image.shape, before, strict=True)]
    padded = np.pad(image, list(zip(before, after, strict=True)), constant_values=BLACK)
    return np.rint((display_image(padded[None]) + 1) / 2 * 255).astype(np.uint8)


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """Different names of eight letters and digits, in random order."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[rng.bytes(4).hex()] = None
    return list(names)


def _write_form(study: StudyFiles, identity: str, names: Sequence[str]) -> None:
    template = files(__package__).joinpath("form.html").read_text(encoding="utf-8")
    told = {"format": FORMAT, "study": identity, "images": list(names)}
    study.form.write_text(template.replace("{{STUDY}}", json.dumps(told)), encoding="utf-8")
