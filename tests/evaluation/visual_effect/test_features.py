from __future__ import annotations

import pytest
import torch
from torchvision.models import inception_v3

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.visual_effect import InceptionFeatures, VGGLooks
from medstyle_gan.losses import gram_matrix
from medstyle_gan.networks import VGG19Features


def test_vgg_gives_mean_features_and_mean_grams():
    images = torch.rand(3, 1, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features, grams = VGGLooks("random:0").look(images)
    plain = VGG19Features("random:0", ["relu2_1", "relu4_1"])(images)
    torch.testing.assert_close(features, plain["relu4_1"].mean(dim=(2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        grams["relu2_1"], gram_matrix(plain["relu2_1"]).mean(dim=0), rtol=1e-3, atol=1e-5
    )


def test_vgg_takes_slices_smaller_than_its_reductions():
    features, _ = VGGLooks("random:0").look(torch.zeros(1, 1, 3, 5))
    assert features.shape == (1, 512)


def test_inception_reads_its_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, aux_logits=True).eval()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    network.fc = torch.nn.Identity()
    image = torch.rand(1, 1, 299, 299) * 2 - 1
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    rgb = ((image.expand(-1, 3, -1, -1) + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = network(rgb)
    torch.testing.assert_close(InceptionFeatures(tmp_path / "inception.pth")(image), expected)


@pytest.mark.parametrize("content", [None, b"no archive", {"conv.weight": torch.zeros(1)}])
def test_inception_refuses_other_files(tmp_path, content):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"weights\.pth.*inception_v3"):
        InceptionFeatures(path)
