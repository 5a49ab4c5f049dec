"""ViCLIP on a small checkpoint of the published layout, and the VBench dimensions that ask it."""

from __future__ import annotations

import pytest
import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError
from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.networks.viclip import Sizes, ViClip, load_viclip, tokenise
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.features.viclip import prepared
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from tests.features.tiny import tiny_clip
from tests.metrics.clips import make_clip, moving_texture

SMALL = Sizes(128, 2, 8, 17, 8, 128, 2, 32, 49408, 12)


@pytest.fixture(autouse=True)
def fresh():
    load_extractor.cache_clear()
    yield
    load_extractor.cache_clear()


@pytest.fixture(scope="module")
def viclip(tmp_path_factory):
    """Narrow and shallow, reading 32 x 32, with every name of the published checkpoint, wrapped as it is."""
    torch.manual_seed(0)
    network = ViClip(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("viclip") / "viclip.pth"
    torch.save({"model": network.state_dict()}, path)
    return network, path


def scored(metric, frames, prompt):
    clip, plan = make_clip(frames, 8), FeaturePlan([metric])
    record = ClipRecord(prompt, len(frames), *frames.shape[-2:], clip.fps)
    return score_clip(metric, plan.clip_features(clip, record, plan.text_features([prompt.text])))


def test_names_and_sizes_are_those_of_the_published_file():
    with torch.device("meta"):
        full = ViClip()
    shapes = {name: tuple(item.shape) for name, item in full.state_dict().items()}
    assert shapes["vision_encoder.conv1.weight"] == (1024, 3, 1, 14, 14)
    assert shapes["vision_encoder.temporal_positional_embedding"] == (1, 8, 1024)
    assert shapes["vision_encoder.transformer.resblocks.23.attn.in_proj_weight"] == (3072, 1024)
    assert shapes["text_encoder.transformer.resblocks.11.mlp.c_fc.weight"] == (3072, 768)
    assert shapes["text_encoder.positional_embedding"] == (32, 768)
    assert shapes["text_encoder.text_projection"] == (768, 768)
    assert shapes["temp"] == ()
    assert full.side == 224


def quick_layer(block, width):
    """One of torch's own layers with CLIP's GELU and the block's weights."""
    layer = torch.nn.TransformerEncoderLayer(
        width,
        width // 64,
        4 * width,
        0.0,
        lambda x: x * torch.sigmoid(1.702 * x),
        batch_first=True,
        norm_first=True,
    ).eval()
    pairs = (
        (layer.self_attn.out_proj, block.attn.out_proj),
        (layer.linear1, block.mlp["c_fc"]),
        (layer.linear2, block.mlp["c_proj"]),
        (layer.norm1, block.ln_1),
        (layer.norm2, block.ln_2),
    )
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(block.attn.in_proj_weight)
        layer.self_attn.in_proj_bias.copy_(block.attn.in_proj_bias)
        for theirs, own in pairs:
            theirs.weight.copy_(own.weight)
            theirs.bias.copy_(own.bias)
    return layer


def test_the_video_tower_attends_over_all_places_and_times_together(viclip):
    tower = viclip[0].vision_encoder
    x = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = [tower.class_embedding + tower.positional_embedding[0]]
    for t in range(8):
        for place in range(16):
            row, column = divmod(place, 4)
            patch = x[0, :, t, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            seen = (tower.conv1.weight[:, :, 0] * patch).sum((1, 2, 3))
            tokens.append(
                seen + tower.positional_embedding[place + 1] + tower.temporal_positional_embedding[0, t]
            )
    with torch.inference_mode():
        hidden = tower.ln_pre(torch.stack(tokens))[None]
        for block in tower.transformer.resblocks:
            hidden = quick_layer(block, 128)(hidden)
        expected = tower.ln_post(hidden[:, 0]) @ tower.proj
        assert torch.allclose(tower(x), expected, atol=1e-4)
    assert expected.std() > 1e-3


def test_the_text_tower_reads_to_the_end_and_not_beyond(viclip):
    tower = viclip[0].text_encoder
    short, long = tokenise("a red ball", 32), tokenise("ball " * 60, 32)
    assert (short.shape, long.shape) == ((1, 32), (1, 32))
    assert int(short.argmax()) == 4  # begin, three words, end
    assert int(long[0, -1]) == 49407  # cut at 32, the end kept
    with torch.inference_mode():
        hidden = tower.token_embedding(short) + tower.positional_embedding
        mask = torch.nn.Transformer.generate_square_subsequent_mask(32)
        for block in tower.transformer.resblocks:
            hidden = quick_layer(block, 128)(hidden, src_mask=mask)
        expected = tower.ln_final(hidden)[:, 4] @ tower.text_projection
        assert torch.allclose(tower(short), expected, atol=1e-4)
        padded = short.clone()
        padded[0, 10] = 7
        assert torch.allclose(tower(padded), expected, atol=1e-4)


def test_overall_consistency_is_the_cosine_of_eight_middle_frames(viclip):
    network, path = viclip
    frames = moving_texture(20, 48)[:, :, :40]
    prompt = Prompt("p", "a red ball on a lawn", "c")
    metric = load_metric("vbench.overall_consistency", checkpoint=str(path))
    result = scored(metric, frames, prompt)
    assert result.status == "ok", result.reason
    # 20 frames in 8 parts: [0, 2), [2, 5), [5, 7), [7, 10), ...
    window = prepared(frames[[0, 3, 5, 8, 10, 13, 15, 18]], 32)
    with torch.inference_mode():
        seen, said = network.vision_encoder(window)[0], network.text_encoder(tokenise(prompt.text, 32))[0]
    assert result.value == pytest.approx(float(torch.cosine_similarity(seen, said, dim=0)), abs=1e-5)
    style = load_metric("vbench.temporal_style", checkpoint=str(path))
    assert "not tagged" in scored(style, frames, prompt).reason
    asked = Prompt("q", prompt.text, "c", tags=("vbench.temporal_style",))
    assert scored(style, frames, asked).value == pytest.approx(result.value, abs=1e-6)
    assert "other prompts" in scored(metric, frames, asked).reason


def test_frames_are_resized_as_torchvision_does_on_8_bits():
    _torchvision.ensure()
    from torchvision import transforms

    frames = torch.randint(
        0, 256, (3, 3, 60, 81), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    bicubic = transforms.InterpolationMode.BICUBIC
    expected = (
        transforms.CenterCrop(32)(transforms.Resize(32, bicubic, antialias=False)(frames)).float() / 255
    )
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = transforms.Normalize(mean, std)(expected)
    apart = (prepared(frames, 32)[0].transpose(0, 1) - expected).abs()
    assert apart.max() <= 1.01 / 255 / min(std)
    assert (apart > 1e-4).float().mean() < 0.005  # a rounding tie here and there


def test_appearance_style_asks_for_the_style_alone(tmp_path):
    model, options = tiny_clip(tmp_path)
    frames = moving_texture(3, 48)
    prompt = Prompt("p", "a beach, Van Gogh style", "c", expect={"style": "Van Gogh style"})
    metric = load_metric("vbench.appearance_style", **options)
    result = scored(metric, frames, prompt)
    assert result.status == "ok", result.reason
    import open_clip
    from PIL import Image
    from torchvision import transforms

    pipeline = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )  # VBench's own, on PIL pictures
    pictures = torch.stack([pipeline(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in frames])
    with torch.inference_mode():
        words = model.encode_text(open_clip.get_tokenizer(options["network"])(["Van Gogh style"]))
        expected = torch.cosine_similarity(model.encode_image(pictures), words)
    assert result.series == pytest.approx(expected.tolist(), abs=2e-3)
    plain = Prompt("q", "a beach", "c")
    assert "asks for no style" in scored(metric, frames, plain).reason


class Halfway(torch.nn.Module):
    """Stands in for AMT-S: the mean of both pictures."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if first.shape[-1] % 16 or first.shape[-2] % 16:
            raise ValueError("sides are no multiples of 16")
        return (first + second) / 2


def test_motion_smoothness_compares_odd_frames_with_their_interpolation(tmp_path):
    path = tmp_path / "halfway.pt"
    torch.jit.script(Halfway()).save(str(path))
    metric = load_metric("vbench.motion_smoothness", checkpoint=str(path))
    frames = torch.zeros(6, 3, 20, 33, dtype=torch.uint8)
    frames[1], frames[2], frames[3], frames[4] = 10, 41, 41, 41
    result = scored(metric, frames, Prompt("p", "a", "c"))
    # Halves: 20.5, cut to 20, against 10; 41 against 41. The last frame has no even successor.
    assert result.value == pytest.approx((255 - (10 + 0) / 2) / 255)
    absent = scored(load_metric("vbench.motion_smoothness"), frames, Prompt("p", "a", "c"))
    assert absent.status == "skipped"
    assert "TorchScript" in absent.reason
    assert "evalkit metrics import" in absent.reason
    (tmp_path / "x.pt").write_bytes(b"nothing")
    other = load_metric("vbench.motion_smoothness", checkpoint=str(tmp_path / "x.pt"))
    assert "no TorchScript file" in scored(other, frames, Prompt("p", "a", "c")).reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("vision_encoder.proj"), "no ViCLIP"),
        (lambda state: state.update({"text_encoder.positional_embedding": torch.zeros(32, 100)}), "widths of 128 and 100"),
        (lambda state: state.pop("text_encoder.ln_final.bias"), "another layout"),
    ],
)  # fmt: skip
def test_other_checkpoints_are_refused(viclip, tmp_path, change, words):
    state = dict(viclip[0].state_dict())
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(EvalkitError, match=words):
        load_viclip(tmp_path / "x.pth")
