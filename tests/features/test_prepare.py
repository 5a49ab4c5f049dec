"""`prepare` against torchvision's own transforms, which peers use."""

from __future__ import annotations

import pytest
import torch

from evalkit import _torchvision
from evalkit.features.networks.image import ImageNetwork, prepare

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("size", [(256, 256), (144, 200), (300, 230)])
@pytest.mark.parametrize(("bicubic", "crop"), [(True, True), (False, False)])
def test_vbench_preprocessing_gives_torchvisions_pixels(
    size: tuple[int, int], bicubic: bool, crop: bool
) -> None:
    _torchvision.ensure()
    from torchvision import transforms
    from torchvision.transforms import functional

    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 3, size[0] // 4, size[1] // 4, generator=generator) * 255
    frames = torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 255).to(torch.uint8)
    network = ImageNetwork("t", "", lambda x: {}, MEAN, STD, bicubic=bicubic, crop=crop, antialias=False)
    mode = transforms.InterpolationMode.BICUBIC if bicubic else transforms.InterpolationMode.BILINEAR
    expected = transforms.Resize(224, mode, antialias=False)(frames)
    if crop:
        expected = transforms.CenterCrop(224)(expected)
    expected = functional.normalize(expected.float() / 255, MEAN, STD)
    given = prepare(frames, network)
    assert given.shape == expected.shape
    apart = (given - expected).abs()
    one_level = 1 / 255 / min(STD)
    assert apart.max() <= one_level * 1.01
    # OpenCV's bicubic rounds a pixel in a thousand to the neighbouring level; bilinear is torch's own.
    assert (apart > 1e-4).float().mean() <= (0.005 if bicubic else 0.0)
