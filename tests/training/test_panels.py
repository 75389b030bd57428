from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medstyle_gan.inference.outputs.sidecar import NOTE
from medstyle_gan.training.panels import SamplePanels, draw_panel
from medstyle_gan.training.throughput import Throughput
from tests.training.dummy_method import DummyMethod, fit

LABEL = 22  # height of the line of labels


def ramp(channels: int = 1, height: int = 128, width: int = 128) -> Tensor:
    """Grows along the first axis (towards R's end) and falls to -1 on the second's first half."""
    image = torch.linspace(-1, 1, height)[:, None].repeat(1, width)
    image[:, : width // 2] = -1
    return image.expand(1, channels, height, width).clone()


def stages(value: Tensor) -> list[Tensor]:
    return [value, -value, 0.5 * value, 0.25 * value]


def tile(panel: np.ndarray, column: int, row: int = 0, size: int = 128) -> np.ndarray:
    block_gap = 14 if column >= 4 else 0
    left, top = column * (size + 2) + block_gap, LABEL + row * (size + 2)
    return panel[top : top + size, left : left + size]


def test_columns_show_each_stage_of_both_domains_in_order() -> None:
    scan, style = torch.full((2, 1, 128, 128), 0.4), torch.full((2, 1, 128, 128), -0.8)
    panel = draw_panel({"scan": stages(scan), "style": stages(style)}, mark=False)

    means = [tile(panel, column, row).mean() for row in range(2) for column in range(8)]

    values = [0.4, -0.4, 0.2, 0.1, -0.8, 0.8, -0.4, -0.2]
    assert means == pytest.approx([(v + 1) * 127.5 for v in values] * 2, abs=0.51)


def test_anatomy_stands_upright() -> None:
    # Axial slices are (R, A): the second axis' far half (anterior) must be the upper one.
    panel = draw_panel({"scan": stages(ramp()), "style": stages(ramp())}, mark=False)
    first = tile(panel, 0)[..., 0].astype(int)

    assert (first[64:] == 0).all()
    assert (np.diff(first[0]) >= 0).all()
    assert first[0, -1] == 255


def test_colour_in_one_domain_makes_a_colour_panel_and_keeps_grey_grey() -> None:
    colour = torch.stack([torch.full((128, 128), v) for v in (1.0, 0.0, -1.0)])[None]
    panel = draw_panel({"scan": stages(ramp()), "style": stages(colour)}, mark=False)

    assert panel.shape[-1] == 3
    assert tile(panel, 4)[5, 5].tolist() == [255, 128, 0]
    grey = tile(panel, 0)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()


def test_grey_panel_has_one_channel_and_labelled_columns() -> None:
    panel = draw_panel({"scan": stages(ramp()), "style": stages(ramp())}, mark=False)

    assert panel.dtype == np.uint8
    assert panel.shape == (LABEL + 128, 8 * 130 - 2 + 12 + 2, 1)
    for column in range(8):
        left = column * 130 + (14 if column >= 4 else 0)
        assert panel[:LABEL, left : left + 128].max() > 200  # a label is written there


@pytest.mark.parametrize("size", [(32, 32), (48, 24), (96, 160), (512, 512), (20, 300)])
def test_tiles_of_any_size_become_readable(size: tuple[int, int]) -> None:
    image = ramp(1, *size)
    panel = draw_panel({"scan": stages(image), "style": stages(image)}, mark=False)

    width = (panel.shape[1] - 14 + 2) / 8 - 2
    assert 16 <= width <= 256
    assert panel.shape[0] - LABEL <= 1024
    assert panel[LABEL:].max() == pytest.approx(255, abs=3)


def test_values_beyond_the_range_or_not_numbers_are_drawn_without_failing() -> None:
    image = ramp()
    image[0, 0, :, 100] = 7.0
    image[0, 0, 3, 3] = float("nan")
    panel = draw_panel({"scan": stages(image), "style": stages(image)}, mark=False)

    assert tile(panel, 0)[128 - 1 - 100].min() == 255
    assert tile(panel, 0)[128 - 1 - 3, 3, 0] == 0


class Pictures(L.pytorch.loggers.logger.DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, list[Image.Image], int, dict[str, Any]]] = []

    def log_image(self, key: str, images: list[Any], step: int, **kwargs: Any) -> None:
        self.sent.append((key, images, step, kwargs))


def draw_while_training(folder: Path, steps: int, every: int, logger: Any = False) -> None:
    throughput = Throughput()
    samples = {"scan": torch.rand(3, 1, 16, 16), "style": torch.rand(2, 3, 16, 16)}
    panels = SamplePanels(folder, every, samples, throughput)
    fit(DummyMethod(), steps, [throughput, panels], logger=logger)


def test_panels_are_drawn_at_their_steps_and_at_the_end(tmp_path: Path) -> None:
    draw_while_training(tmp_path / "samples", 7, 3)

    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["step_000003.png", "step_000006.png", "step_000007.png"]


def test_panel_at_the_last_step_is_drawn_once_and_holds_every_sample(tmp_path: Path) -> None:
    logger = Pictures()
    draw_while_training(tmp_path, 4, 2, logger)

    assert [step for _, _, step, _ in logger.sent] == [2, 4]
    with Image.open(tmp_path / "step_000004.png") as image:
        assert image.mode == "RGB"
        assert image.height == LABEL + 3 * 114 - 2  # three rows of 16-pixel tiles drawn 7 times


def test_loggers_get_the_picture_that_stands_in_the_folder(tmp_path: Path) -> None:
    logger = Pictures()
    draw_while_training(tmp_path, 2, 2, logger)
    (key, (picture,), step, details) = logger.sent[0]

    with Image.open(tmp_path / "step_000002.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(picture))
        assert image.info == {"Synthetic": NOTE}  # no text that could name anything
    assert (key, step, details) == ("samples", 2, {"caption": ["step 2"]})


def test_a_volume_is_shown_by_its_three_middle_slices_upright() -> None:
    r, a, s = torch.meshgrid(*[torch.arange(n) for n in (64, 60, 56)], indexing="ij")
    volume = ((r + a / 2 + s / 4) / 100 - 0.5)[None, None]
    volume[..., 40:] = -1  # superior part is air
    panel = draw_panel({"scan": stages(volume), "style": stages(volume)}, mark=False)
    drawn = tile_of_planes(panel)
    for found, middle in zip(
        drawn, (volume[0, 0, :, :, 28], volume[0, 0, :, 30], volume[0, 0, 32]), strict=True
    ):
        grey = ((middle.T.flip(0) + 1) * 127.5).clamp(0, 255).round().byte().numpy()
        expected = np.kron(grey, np.ones((2, 2), np.uint8))
        np.testing.assert_array_equal(found, expected)
    axial, coronal, sagittal = drawn
    assert axial.min() > 0
    assert (coronal[:32] == 0).all()  # air is above
    assert (sagittal[:32] == 0).all()


def tile_of_planes(panel: np.ndarray) -> list[np.ndarray]:
    """The first column's axial (64, 60), coronal (64, 56) and sagittal (60, 56) slice."""
    top, found = LABEL, []
    for width, height in ((128, 120), (128, 112), (120, 112)):
        left = (128 - width) // 2
        found.append(panel[top : top + height, left : left + width, 0])
        top += height + 2
    return found


@pytest.mark.parametrize("size", [(32, 32, 32), (64, 64, 8), (16, 200, 96), (300, 300, 300)])
def test_panels_of_patches_hold_every_sample(size: tuple[int, int, int]) -> None:
    patches = torch.rand(2, 1, *size) * 2 - 1
    one = draw_panel({"scan": stages(patches[:1]), "style": stages(patches[:1])}, mark=False)
    two = draw_panel({"scan": stages(patches), "style": stages(patches)}, mark=False)
    assert two.shape[1:] == one.shape[1:]
    assert two.shape[0] - LABEL == 2 * (one.shape[0] - LABEL) + 2
    assert two[-20:].max() > 100


@pytest.mark.parametrize("channels", [1, 3])
def test_all_but_the_domains_own_images_are_marked_at_one_place(channels: int) -> None:
    columns = {"scan": stages(ramp(channels)), "style": stages(ramp())}
    plain, marked = (draw_panel(columns, mark=mark) for mark in (False, True))
    places = []
    for column in range(8):
        changed = (tile(plain, column) != tile(marked, column)).any(axis=-1)
        if column % 4 == 0:
            assert not changed.any()
        else:
            places.append(changed)
            label = tile(marked, column)[changed]
            assert label.min() < 60
            assert label.max() > 200
            assert changed.mean() < 0.1
    boxes = {tuple(np.argwhere(p).max(axis=0) // 4) for p in places}
    assert len(boxes) == 1
    assert not places[0][:64].any()  # the flat half


def test_a_method_without_a_way_back_is_marked_too() -> None:
    columns = {"scan": stages(ramp())[:2]}
    changed = draw_panel(columns) != draw_panel(columns, mark=False)
    assert not changed[:, :128].any()
    assert changed[:, 130:].any()


@pytest.mark.parametrize("mark", [True, False])
def test_panels_say_in_their_metadata_that_they_are_synthetic(tmp_path: Path, mark: bool) -> None:
    throughput = Throughput()
    samples = {"scan": torch.rand(1, 1, 16, 16), "style": torch.rand(1, 1, 16, 16)}
    panels = SamplePanels(tmp_path, 1, samples, throughput, mark)
    fit(DummyMethod(), 1, [throughput, panels], logger=False)
    with Image.open(tmp_path / "step_000001.png") as picture:
        assert "not acquired" in picture.info["Synthetic"]
