"""Learned heads and the peers' own features: loading code on small checkpoints of the published layouts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError
from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.networks.musiq import Musiq, _StandardConv, load_musiq
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.metrics.functional.flow import boundary_mask, evalcrafter_error, occlusion_mask, warp
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from tests.features.tiny import tiny_clip
from tests.metrics.clips import make_clip, moving_texture

_torchvision.ensure()
PROMPT = Prompt("p", "a red ball on a lawn", "c")


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    for name in ("EVALKIT_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


def scored(metric, frames, fps=8):
    clip = make_clip(frames, fps)
    height, width = frames.shape[-2:]
    plan = FeaturePlan([metric])
    record = ClipRecord(PROMPT, len(frames), height, width, clip.fps)
    return score_clip(metric, plan.clip_features(clip, record, plan.text_features([PROMPT.text])))


@pytest.fixture(scope="module")
def musiq(tmp_path_factory):
    """A narrow, shallow MUSIQ with every name of the published checkpoint."""
    torch.manual_seed(0)
    network = Musiq(width=12, inner=20, layers=2).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path_factory.mktemp("musiq") / "musiq.pth"
    torch.save(network.state_dict(), path)
    return network, path


def test_blocks_are_torchs_own_transformer_layers(musiq):
    block = musiq[0].transformer_encoder.transformer["encoderblock_1"]
    theirs = torch.nn.TransformerEncoderLayer(
        12, 6, 20, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    attention = block.attention
    with torch.no_grad():
        for kind in ("weight", "bias"):
            joined = torch.cat(
                [getattr(layer, kind) for layer in (attention.query, attention.key, attention.value)]
            )
            getattr(theirs.self_attn, f"in_proj_{kind}").copy_(joined)
            for own, layer in (
                (attention.out, theirs.self_attn.out_proj),
                (block.mlp.fc1, theirs.linear1),
                (block.mlp.fc2, theirs.linear2),
                (block.norm1, theirs.norm1),
                (block.norm2, theirs.norm2),
            ):
                getattr(layer, kind).copy_(getattr(own, kind))
        x = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(block(x), theirs(x), atol=1e-5)


def test_kernels_are_standardised_and_padding_is_tensorflows():
    conv = _StandardConv(2, 3, 3, 2)
    x = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    kernel = conv.weight.detach().double().numpy()
    kernel = kernel - kernel.mean((1, 2, 3), keepdims=True)
    kernel = kernel / (kernel.std((1, 2, 3), ddof=1, keepdims=True) + 1e-5)
    # SAME at stride 2: one row above and below for 5 rows, one column on the right alone for 6 columns.
    padded = np.pad(x[0].double().numpy(), ((0, 0), (1, 1), (0, 1)))
    expected = [
        [[(padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * k).sum() for j in range(3)] for i in range(3)]
        for k in kernel
    ]
    np.testing.assert_allclose(conv(x)[0].detach().numpy(), expected, atol=1e-5)


def test_quality_of_frames_does_not_depend_on_their_neighbours(musiq):
    network, path = musiq
    loaded = load_musiq(path)
    x = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = loaded(x)
        assert torch.allclose(together, network(x))
        assert torch.allclose(together, torch.cat([loaded(part) for part in x.split(1)]), atol=1e-5)
    assert together.std() > 0


def test_quality_metric_from_a_checkpoint_and_vbenchs_scale(musiq):
    frames = moving_texture(1, 48)
    ours = scored(load_metric("visual.quality", checkpoint=str(musiq[1])), frames)
    vbench = scored(load_metric("vbench.imaging_quality", checkpoint=str(musiq[1])), frames)
    with torch.inference_mode():
        expected = musiq[0](frames.float() / 255)
    assert ours.series == pytest.approx(expected.tolist(), abs=1e-4)
    assert vbench.value == pytest.approx(ours.value / 100, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("embedding.weight"), "embedding.weight"),
        (lambda state: state.update({"head.weight": torch.zeros(10, 12)}), "10 values"),
        (lambda state: state.pop("gn_root.bias"), "another layout"),
    ],
)
def test_other_checkpoints_are_refused(musiq, tmp_path, change, words):
    state = dict(musiq[0].state_dict())
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(EvalkitError, match=words):
        load_musiq(tmp_path / "x.pth")


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def test_aesthetics_are_a_line_on_unit_features(clip_file, tmp_path):
    model, clip = clip_file
    generator = torch.Generator().manual_seed(3)
    width = model.visual.output_dim
    head = {"weight": torch.randn(1, width, generator=generator), "bias": torch.tensor([5.0])}
    torch.save(head, tmp_path / "head.pth")
    options = {
        "checkpoint": str(tmp_path / "head.pth"),
        "network": clip["network"],
        "network_checkpoint": clip["checkpoint"],
    }
    frames = moving_texture(2, 32)
    result = scored(load_metric("vbench.aesthetic_quality", **options), frames)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = (frames / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    with torch.inference_mode():
        unit = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
    assert result.series == pytest.approx(((unit @ head["weight"][0] + 5) / 10).tolist(), abs=1e-4)
    own = scored(load_metric("visual.aesthetic", **options), frames)
    assert own.value == pytest.approx(10 * result.value, abs=1e-3)
    torch.save({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    load_extractor.cache_clear()
    assert "reads 3 features" in scored(load_metric("visual.aesthetic", **options), frames).reason
    torch.save({"other": torch.zeros(1)}, tmp_path / "head.pth")
    load_extractor.cache_clear()
    assert "linear head" in scored(load_metric("visual.aesthetic", **options), frames).reason


def test_evalcrafters_clip_sees_raw_levels(clip_file):
    model, options = clip_file
    frames = moving_texture(3, 60)
    squeezed = torch.nn.functional.interpolate(frames.float(), (32, 32), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        features = torch.nn.functional.normalize(model.encode_image(squeezed), dim=-1)
    temp = scored(load_metric("evalcrafter.clip_temp", **options), frames)
    assert temp.series == pytest.approx((features[1:] * features[:-1]).sum(-1).tolist(), abs=1e-4)
    score = scored(load_metric("evalcrafter.clip_score", **options), frames)
    import open_clip

    with torch.inference_mode():
        words = model.encode_text(open_clip.get_tokenizer(options["network"])([PROMPT.text]))
        words = torch.nn.functional.normalize(words, dim=-1)[0]
        rounded = torch.nn.functional.normalize(model.encode_image(squeezed.round()), dim=-1)
    assert score.value == pytest.approx(float((rounded @ words).mean()), abs=2e-3)


def test_evalcrafters_error_sums_channels_and_hides_what_cannot_be_seen():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, 12, 16, generator=generator)
    forward = torch.zeros(1, 2, 12, 16)
    forward[:, 0] = 1.0
    backward = -forward
    backward[..., 5:8, 6:9] += 4
    found = float(evalcrafter_error(first, second, forward, backward))
    hidden = occlusion_mask(forward, backward) | boundary_mask(forward)
    warped = warp(second.permute(0, 2, 3, 1).contiguous(), forward).permute(0, 3, 1, 2)
    total = 0.0
    for y in range(12):
        for x in range(16):
            if not hidden[0, y, x]:
                total += float((warped - first)[0, :, y, x].square().sum())
    assert 0 < int(hidden.sum()) < 12 * 16
    assert found == pytest.approx(total / int((~hidden).sum()), rel=1e-5)


class Shift(torch.nn.Module):
    """Stands in for RAFT: the same flow everywhere; keeps what it was fed."""

    def __init__(self, step):
        super().__init__()
        self.step, self.fed = step, []

    def forward(self, first, second, num_flow_updates):
        assert num_flow_updates == 20
        self.fed.append((float(first.min()), float(first.max())))
        flow = torch.zeros(1, 2, *first.shape[-2:])
        flow[:, 0] = self.step
        return [flow]


@pytest.mark.parametrize(
    ("speed", "fps", "moves"), [(5.0, 8, 1.0), (2.9, 8, 0.0), (3.1, 8, 1.0), (5.0, 4, 0.0), (6.1, 4, 1.0)]
)
def test_vbenchs_threshold_grows_with_size_and_slow_frame_rates(monkeypatch, speed, fps, moves):
    network = Shift(speed)
    monkeypatch.setattr("evalkit.features.networks.raft.load_raft", lambda *_, **__: (network, "sha256:0"))
    result = scored(load_metric("vbench.dynamic_degree"), moving_texture(5, 128), fps)
    assert result.value == moves  # 6 x 128 / 256 = 3 pixels at 8 frames a second, 6 at 4
    assert network.fed[0][0] >= -1
    assert network.fed[0][1] > 0.2


def test_evalcrafters_raft_is_fed_nearly_black_pictures(monkeypatch):
    network = Shift(0.0)
    monkeypatch.setattr("evalkit.features.networks.raft.load_raft", lambda *_, **__: (network, "sha256:0"))
    frames = moving_texture(2, 260)
    result = scored(load_metric("evalcrafter.warping_error"), frames)
    halved = torch.nn.functional.interpolate(frames.float() / 255, scale_factor=0.5, mode="bilinear")
    expected = float((halved[1] - halved[0]).square().sum(0)[:, :].mean())
    assert result.value == pytest.approx(expected, rel=0.05)  # RAFT's padding repeats a few rows
    assert network.fed[0][1] <= 1 / 127.5 - 1 + 1e-6
    small = scored(load_metric("evalcrafter.warping_error"), moving_texture(2, 100))
    assert small.status == "not_applicable"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("visual.quality", "musiq_spaq_ckpt"),
        ("visual.aesthetic", "sa_0_4_vit_l_14_linear"),
        ("vbench.imaging_quality", "musiq_spaq_ckpt"),
        ("vbench.aesthetic_quality", "sa_0_4_vit_l_14_linear"),
        ("vbench.subject_consistency", "dino_vitbase16_pretrain"),
        ("vbench.background_consistency", "ViT-B-32.pt"),
        ("vbench.dynamic_degree", "Raft_Large_Weights.C_T_V1"),
        ("evalcrafter.warping_error", "Raft_Large_Weights.C_T_V1"),
        ("evalcrafter.clip_temp", "ViT-B-32.pt"),
    ],
)
def test_missing_weights_are_skipped_with_the_command(name, command):
    result = scored(load_metric(name), moving_texture(3, 32))
    assert result.status == "skipped"
    assert command in result.reason


def test_vbenchs_consistency_on_the_networks_it_names(clip_file):
    metric = load_metric("vbench.background_consistency")
    (request,) = metric.requires()
    assert dict(request.params) == {"network": "clip:ViT-B-32", "preprocess": "vbench"}
    from evalkit.features.protocol import ClipFeatures

    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    clip = ClipFeatures(ClipRecord(None, 5, 8, 8, Fraction(8)), {request: {"features": features}})
    unit = torch.nn.functional.normalize(features, dim=-1)
    expected = [
        (max(0.0, float(unit[t] @ unit[t - 1])) + max(0.0, float(unit[t] @ unit[0]))) / 2 for t in range(1, 5)
    ]
    assert metric.score(clip).value == pytest.approx(sum(expected) / 4, abs=1e-6)
