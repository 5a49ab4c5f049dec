"""VideoMAE-v2's giant on a small checkpoint of the published layout, against torch's own layers."""

from __future__ import annotations

import math

import pytest
import torch

from evalkit import weights
from evalkit.errors import EvalkitError
from evalkit.features.networks.video import load_video_network, prepare_window
from evalkit.features.networks.videomae2 import Sizes, VideoMAE2, load_videomae2
from evalkit.features.video import Video
from evalkit.metrics.functional.frechet import frechet_distance
from evalkit.metrics.registry import load_metric
from tests.metrics.clips import make_clip, moving_texture

SMALL = Sizes(width=32, inner=48, layers=2, classes=5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Narrow and shallow, with every name of the published checkpoint, wrapped as it is."""
    torch.manual_seed(0)
    network = VideoMAE2(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("videomae2") / "small.pth"
    torch.save({"module": network.state_dict()}, path)
    return network, path


def test_names_and_sizes_are_those_of_the_published_file():
    with torch.device("meta"):
        giant = VideoMAE2()
    shapes = {name: tuple(item.shape) for name, item in giant.state_dict().items()}
    assert shapes["patch_embed.proj.weight"] == (1408, 3, 2, 14, 14)
    assert shapes["blocks.39.attn.qkv.weight"] == (3 * 1408, 1408)
    assert shapes["blocks.0.mlp.fc1.bias"] == (int(1408 * 48 / 11),)
    assert {name for name in shapes if name.startswith("blocks.7.attn.")} == {
        f"blocks.7.attn.{part}" for part in ("q_bias", "v_bias", "qkv.weight", "proj.weight", "proj.bias")
    }
    assert {name for name in shapes if not name.startswith(("blocks.", "patch_embed."))} == {
        f"{part}.{kind}" for part in ("fc_norm", "head") for kind in ("weight", "bias")
    }


def test_features_are_those_of_torchs_own_transformer_layers(small):
    """Tokens cut out by hand, positions from their closed form, layers from torch, mean and norm."""
    network = small[0]
    pixels = torch.rand(1, 3, 4, 28, 42, generator=torch.Generator().manual_seed(1))
    kernel = network.patch_embed.proj.weight.double()
    tokens = []
    for place, (t, y, x) in enumerate((t, y, x) for t in (0, 2) for y in (0, 14) for x in (0, 14, 28)):
        patch = pixels[0, :, t : t + 2, y : y + 14, x : x + 14].double()
        angles = [place / 10000 ** (2 * (j // 2) / 32) for j in range(32)]
        position = torch.tensor([math.sin(a) if j % 2 == 0 else math.cos(a) for j, a in enumerate(angles)])
        tokens.append((kernel * patch).sum((1, 2, 3, 4)) + network.patch_embed.proj.bias + position)
    hidden = torch.stack(tokens)[None].float()
    for block in network.blocks:
        layer = torch.nn.TransformerEncoderLayer(
            32, 16, 48, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        ).eval()
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(block.attn.qkv.weight)
            none = torch.zeros(32)
            layer.self_attn.in_proj_bias.copy_(torch.cat([block.attn.q_bias, none, block.attn.v_bias]))
            for own, theirs in (
                (block.attn.proj, layer.self_attn.out_proj),
                (block.mlp.fc1, layer.linear1),
                (block.mlp.fc2, layer.linear2),
                (block.norm1, layer.norm1),
                (block.norm2, layer.norm2),
            ):
                theirs.weight.copy_(own.weight)
                theirs.bias.copy_(own.bias)
            hidden = layer(hidden)
    with torch.inference_mode():
        mean = hidden.mean(1)
        centred = mean - mean.mean()
        unit = centred / (centred.square().mean() + 1e-6).sqrt()
        expected = unit * network.fc_norm.weight + network.fc_norm.bias
        assert torch.allclose(network(pixels), expected, atol=1e-4)
    assert expected.std() > 0.1


def test_the_checkpoint_comes_back_with_the_protocol_of_cd_fvd(small, monkeypatch):
    network, path = small
    loaded = load_video_network("videomae-v2-g", str(path), "cd-fvd-videomae")
    # cd-fvd: 16 frames, squeezed to 224 x 224, 0..1, no mean and standard deviation.
    assert (loaded.name, loaded.preprocessing) == ("videomae-v2-g-ssv2", "224-bilinear/unit")
    frames = moving_texture(16, 40)[:, :, :30]
    window = prepare_window(frames, loaded)
    assert window.shape == (1, 3, 16, 224, 224)
    expected = torch.nn.functional.interpolate(frames.float() / 255, (224, 224), mode="bilinear")
    assert torch.allclose(window[0].transpose(0, 1), expected, atol=1e-6)
    other = load_videomae2(path).state_dict()
    assert all(torch.equal(other[name], tensor) for name, tensor in network.state_dict().items())
    # A small picture stands in for 224 x 224, whose 2048 tokens would take the test's time.
    monkeypatch.setattr("evalkit.features.video.prepare_window", lambda *_: window[..., :28, :28])
    extractor = Video("videomae-v2-g", str(path), "cd-fvd-videomae")
    assert extractor.spec.preprocessing == "videomae-v2-g-ssv2/224-bilinear/unit/16f-s1-first"
    features = extractor.extract(make_clip(frames), {})["features"]
    with torch.inference_mode():
        assert torch.allclose(features, network(window[..., :28, :28]), atol=1e-5)
    with pytest.raises(EvalkitError, match="reads 16 frames, the window has 8"):
        loaded.forward(window[:, :, :8])


def test_the_preset_names_its_network_and_divisor():
    metric = load_metric("set.fvd:preset=cd-fvd-videomae")
    assert dict(metric.requires()[0].params) == {"network": "videomae-v2-g", "preset": "cd-fvd-videomae"}
    assert metric.ddof == 0
    with pytest.raises(EvalkitError, match=r"presets: .*cd-fvd-videomae \(videomae-v2-g\)"):
        load_video_network("i3d", None, "cd-fvd-videomae")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("patch_embed.proj.weight"), "no fine-tuned VideoMAE-v2"),
        (
            lambda state: state.update({"patch_embed.proj.weight": torch.zeros(40, 3, 2, 14, 14)}),
            "width of 40",
        ),
        (lambda state: state.pop("blocks.1.attn.q_bias"), "another layout"),
    ],
)
def test_other_checkpoints_are_refused(small, tmp_path, change, words):
    state = dict(small[0].state_dict())
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(EvalkitError, match=words):
        load_videomae2(tmp_path / "x.pth")


def published(name):
    """The published weights, or a skip that says how to get them."""
    if weights.find(name) is None:
        pytest.skip(f"needs the published weights: {weights.KNOWN_WEIGHTS[name].command}")
    return load_video_network


def test_common_metrics_known_answer():
    """FVD 151.256 of eight clips of zeros and eight of ones, 30 frames of 64 x 64 (common_metrics_on_video_quality)."""
    load = published("i3d")
    network = load("i3d", preset="videogpt")
    clips = [torch.full((30, 3, 64, 64), level, dtype=torch.uint8) for level in (0, 255)]
    with torch.inference_mode():
        sides = [network.forward(prepare_window(clip, network)).expand(8, -1) for clip in clips]
    assert frechet_distance(*sides, ddof=1) == pytest.approx(151.256, abs=0.05)


def test_giant_gives_its_published_number_of_features():
    network = published("videomae-v2-g")("videomae-v2-g")
    with torch.inference_mode():
        features = network.forward(prepare_window(moving_texture(16, 64), network))
    assert features.shape == (1, 1408)
    assert bool(features.isfinite().all())
