from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import nn

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.hallucination import load_segmenter, overlaps

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.*:DeprecationWarning"),
]

SPACING = (1.0, 1.5, 2.0)
SHAPE = (21, 18, 7)


class Bright(nn.Module):
    """Logits of "brighter than 0.2", by a convolution of one voxel."""

    def __init__(self, dims: int, classes: int) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, classes, 1)
        with torch.no_grad():
            self.layer.weight.fill_(0)
            self.layer.bias.fill_(0)
            self.layer.weight[-1] = 1
            self.layer.bias[-1] = -0.2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.fixture
def array(rng) -> np.ndarray:
    return rng.uniform(-1, 1, SHAPE).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_torchscript_network_labels_every_voxel(array, tmp_path: Path, dims, classes) -> None:
    path = tmp_path / "segmenter.pt"
    torch.jit.script(Bright(dims, classes)).save(str(path))
    segment = pickle.loads(pickle.dumps(load_segmenter(str(path))))
    labels = segment(array, SPACING)
    assert labels.dtype == np.int32
    assert np.array_equal(labels, array > 0.2)


def test_an_onnx_network_labels_every_voxel(array, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    free = ["n", 1, "h", "w"]
    image, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, free)
        for name in ("image", "logits")
    )
    limit = helper.make_tensor("limit", onnx.TensorProto.FLOAT, [1], [0.2])
    graph = helper.make_graph(
        [helper.make_node("Sub", ["image", "limit"], ["logits"])], "g", [image], [logits], [limit]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "segmenter.onnx"
    path.write_bytes(model.SerializeToString())
    assert np.array_equal(load_segmenter(str(path))(array, SPACING), array > 0.2)


PROGRAM = """
import sys, nibabel, numpy
image = nibabel.load(sys.argv[1])
assert numpy.allclose(image.header.get_zooms(), (1.0, 1.5, 2.0))
labels = (image.get_fdata() > 0.2).astype("uint8")
nibabel.save(nibabel.Nifti1Image(labels, image.affine), sys.argv[2])
"""


def test_a_command_is_given_a_volume_and_gives_labels(array, tmp_path: Path) -> None:
    program = tmp_path / "my segmenter.py"
    program.write_text(PROGRAM)
    segment = load_segmenter(f"{sys.executable} '{program}' {{input}} {{output}}")
    assert np.array_equal(segment(array, SPACING), array > 0.2)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("missing.pt", "no such file"),
        ("task.txt", "TorchScript"),
        ("run {input}", r"\{output\}"),
        ("'open {input} {output}", "quote"),
    ],
)
def test_tasks_that_cannot_be_are_refused(task, message) -> None:
    with pytest.raises(UserError, match=message):
        load_segmenter(task)


def test_networks_and_commands_that_fail_say_so(array, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_text("no archive")
    with pytest.raises(UserError, match="cannot be read as TorchScript"):
        load_segmenter(str(broken))
    identity = tmp_path / "identity.pt"
    torch.jit.script(nn.Identity()).save(str(identity))
    with pytest.raises(UserError, match="2 or 3"):
        load_segmenter(str(identity))
    two = tmp_path / "two.pt"
    torch.jit.script(nn.Conv2d(2, 1, 1)).save(str(two))
    with pytest.raises(UserError, match="one channel"):
        load_segmenter(str(two))(array, SPACING)
    with pytest.raises(UserError, match="cannot be started"):
        load_segmenter("/no/such/program {input} {output}")(array, SPACING)
    program = "import sys; print('sorry', file=sys.stderr); sys.exit(3)"
    failing = load_segmenter(f'{sys.executable} -c "{program}" {{input}} {{output}}')
    with pytest.raises(UserError, match=r"code 3(.|\n)*sorry"):
        failing(array, SPACING)
    with pytest.raises(UserError, match=r"wrote no \{output\}"):
        load_segmenter(f"{sys.executable} -c '' {{input}} {{output}}")(array, SPACING)


def test_dice_and_hd95_have_their_definitions(rng) -> None:
    true = np.zeros((24, 24, 10), np.int32)
    true[4:14, 5:15, 2:8] = 1
    true[16:22, 4:10, 2:8] = 2
    predicted = np.roll(true, 2, axis=0)
    for found in overlaps(predicted, true, SPACING):
        ours, theirs = predicted == found.label, true == found.label
        dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
        assert found.dice == pytest.approx(dice)
        edges = [mask & ~binary_erosion(mask) for mask in (ours, theirs)]
        each = [
            np.percentile(distance_transform_edt(~b, sampling=SPACING)[a], 95)
            for a, b in (edges, edges[::-1])
        ]
        assert found.hd95 == pytest.approx(max(each), abs=0.05)


def test_a_label_that_is_not_found_has_no_distance() -> None:
    true = np.zeros((8, 8, 8), np.int32)
    true[2:5, 2:5, 2:5] = 3
    (found,) = overlaps(np.zeros_like(true), true, SPACING)
    assert found.dice == 0
    assert np.isnan(found.hd95)
