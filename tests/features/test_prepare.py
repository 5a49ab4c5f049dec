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
    # VBench's load_video gives torch.Tensor(frames): floats, which Resize does not round, whatever its comment says.
    expected = transforms.Resize(224, mode, antialias=False)(torch.Tensor(frames.numpy()))
    if crop:
        expected = transforms.CenterCrop(224)(expected)
    expected = functional.normalize(expected / 255, MEAN, STD)
    given = prepare(frames, network)
    assert given.shape == expected.shape
    assert (given - expected).abs().max() <= 0.02 / 255 / min(STD)  # a fiftieth of a level
    assert "in float" in network.preprocessing


def test_vbench_reduces_pictures_for_musiq_without_antialiasing(monkeypatch):
    """imaging_quality: longer side 512, truncated, bilinear without antialiasing, on floats."""
    from evalkit.features.heads import Quality
    from tests.metrics.clips import make_clip

    _torchvision.ensure()
    from torchvision import transforms

    frames = torch.randint(
        0, 256, (1, 3, 333, 700), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    seen = []

    def keep(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels)
        return torch.zeros(1)

    for preprocess in ("vbench", "own"):
        extractor = Quality(preprocess=preprocess)
        monkeypatch.setattr(Quality, "_loaded", (keep, "sha256:0"))
        extractor.extract(make_clip(frames), {})
    expected = transforms.Resize((int(512 / 700 * 333), 512), antialias=False)(frames.float()) / 255
    assert torch.allclose(seen[0], expected, atol=1e-5)
    assert (seen[1] - expected).abs().max() > 0.05
