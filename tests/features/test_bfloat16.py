"""Image networks in bfloat16: near float32, told apart by their key, refused where they would not be near."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evalkit import _torchvision
from evalkit.errors import EvalkitError
from evalkit.features.image import Image
from tests.metrics.clips import make_clip, moving_texture

_torchvision.ensure()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(module.state_dict(), path)
    return path


def similarities(features: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(features, dim=-1)
    return (unit[1:] * unit[:-1]).sum(-1)


def test_similarities_move_by_less_than_the_stated_tolerance(checkpoint: Path) -> None:
    clip = make_clip(moving_texture(3, 48))
    network = "timm:vit_tiny_patch16_224"
    whole, half = Image(network, str(checkpoint)), Image(f"{network}@bfloat16", str(checkpoint))
    exact, rounded = (one.extract(clip, {})["features"] for one in (whole, half))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (similarities(exact) - similarities(rounded)).abs().max() < 1e-3
    assert whole.spec.preprocessing.endswith("float32")
    assert half.spec.preprocessing.endswith("bfloat16")
    assert whole.spec.weights_digest == half.spec.weights_digest


def test_other_types_and_other_networks_are_refused() -> None:
    with pytest.raises(EvalkitError, match="only @bfloat16"):
        _ = Image("efficientnet-lite0@float16").spec
    with pytest.raises(EvalkitError, match="loses too much in bfloat16"):
        _ = Image("efficientnet-lite0@bfloat16").spec
