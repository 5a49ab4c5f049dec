"""Loading code of networks that do not ship, on small checkpoints of the same layout."""

from __future__ import annotations

import pytest
import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError, MissingWeights
from evalkit.features.image import Image
from evalkit.features.networks.image import load_image_network, prepare
from evalkit.features.networks.video import load_video_network, prepare_window
from evalkit.features.text import ClipText
from evalkit.features.video import Video as VideoExtractor
from tests.features.tiny import tiny_clip
from tests.metrics.clips import make_clip, moving_texture

_torchvision.ensure()


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("EVALKIT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


class TinyI3D(torch.nn.Module):
    """Takes what StyleGAN-V's TorchScript I3D takes."""

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = True
    ):
        if rescale:
            x = x / 127.5 - 1
        if resize:
            x = torch.nn.functional.interpolate(x, size=[x.shape[2], 8, 8], mode="nearest")
        return torch.stack([x.mean((1, 2, 3, 4)), x.amax((1, 2, 3, 4)), x.amin((1, 2, 3, 4))], 1)


@pytest.fixture
def i3d(tmp_path):
    path = tmp_path / "i3d.pt"
    torch.jit.script(TinyI3D()).save(str(path))
    return str(path)


@pytest.mark.parametrize("preset", ["stylegan-v", "videogpt", "cd-fvd"])
def test_i3d_presets_bring_pixels_to_the_same_scale(i3d, preset):
    frames = torch.full((16, 3, 40, 60), 255, dtype=torch.uint8)
    frames[:, :, :, :30] = 0
    network = load_video_network("i3d", i3d, preset)
    window = prepare_window(frames, network)
    inside = preset == "stylegan-v"
    assert window.shape == (1, 3, 16, *((40, 60) if inside else (224, 224)))
    assert network.forward(window)[0].tolist() == pytest.approx([0, 1, -1], abs=0.02)


def test_centre_crop_of_videogpt_is_the_centre(i3d):
    frames = torch.zeros(16, 3, 20, 60, dtype=torch.uint8)
    frames[:, :, :, 20:40] = 255
    cropped = prepare_window(frames, load_video_network("i3d", i3d, "videogpt"))
    squeezed = prepare_window(frames, load_video_network("i3d", i3d, "cd-fvd"))
    assert cropped.mean() > 0.9
    assert squeezed.mean() == pytest.approx(-1 / 3, abs=0.05)


def test_i3d_feature_through_the_extractor(i3d):
    extractor = VideoExtractor(checkpoint=i3d, preset="videogpt")
    clip = make_clip(moving_texture(16, 32))
    assert extractor.extract(clip, {})["features"].shape == (1, 3)
    assert extractor.spec.preprocessing == "i3d-k400-logits/224-bilinear-centrecrop/signed/16f-s1-first"
    assert extractor.spec.weights_digest.startswith("sha256:")
    with pytest.raises(EvalkitError, match="needs 16 frames"):
        extractor.extract(make_clip(moving_texture(9, 32)), {})


def test_a_file_that_is_neither_torchscript_nor_weights_is_named(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(EvalkitError, match="not a plain weights file"):
        load_video_network("i3d", str(path))


def test_i3d_from_a_state_dict_of_pytorch_i3ds_layout(tmp_path):
    """Published: 12.7 million weights; an input of zeros gives what the biases and running means say."""
    from evalkit.features.networks.i3d import I3D, _same

    torch.manual_seed(0)
    module = I3D().eval()
    names = set(module.state_dict())
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b1a.bn.running_mean", "logits.conv3d.bias"} <= names
    assert sum(item.numel() for item in module.parameters()) == 12_697_264
    path = tmp_path / "i3d.pt"
    torch.save({f"module.{key}": value for key, value in module.state_dict().items()}, path)
    network = load_video_network("i3d", str(path), "videogpt")
    frames = moving_texture(9, 48)[:, :, :36]
    window = prepare_window(frames, network)
    assert window.shape == (1, 3, 9, 224, 224)
    with torch.inference_mode():
        assert network.forward(window).shape == (1, 400)
    assert load_video_network("i3d", str(path), "stylegan-v").preprocessing == "224-bilinear/signed"
    # TensorFlow's SAME: 7 wide at stride 2 over 10 frames is padded by 2 in front and 3 behind.
    padded = _same(torch.ones(1, 1, 10, 8, 8), (7, 7, 7), (2, 2, 2))
    assert padded.shape[-3:] == (15, 13, 13)
    assert padded[0, 0, :, 6, 6].tolist() == [0.0] * 2 + [1.0] * 10 + [0.0] * 3


def test_centre_crop_rounds_the_longer_side_up_as_videogpt_does(i3d):
    network = load_video_network("i3d", i3d, "videogpt")
    frames = moving_texture(2, 90)[:, :, :64]
    scaled = torch.nn.functional.interpolate(frames.float(), (224, 315), mode="bilinear", align_corners=False)
    expected = scaled[..., 45 : 45 + 224] / 127.5 - 1
    assert torch.allclose(prepare_window(frames, network)[0].permute(1, 0, 2, 3), expected, atol=1e-5)


def test_clip_as_a_video_network_is_the_mean_of_its_frames(tmp_path):
    module, options = tiny_clip(tmp_path)
    network = load_video_network(f"clip:{options['network']}", options["checkpoint"])
    window = prepare_window(moving_texture(3, 64), network)
    assert window.shape == (1, 3, 3, 32, 32)
    with torch.inference_mode():
        frames = module.encode_image(window[0].transpose(0, 1))
        assert torch.allclose(network.forward(window)[0], frames.mean(0), atol=1e-5)
    assert network.name == "clip-ViT-tiny-test-mean"


def test_video_resnet_from_a_checkpoint_of_torchvisions_layout(tmp_path):
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models.video.mc3_18(weights=None).eval()
    path = tmp_path / "mc3.pth"
    torch.save(module.state_dict(), path)
    network = load_video_network("mc3_18", str(path))
    window = prepare_window(moving_texture(4, 32), network)
    assert window.shape == (1, 3, 4, 112, 112)
    with torch.inference_mode():
        features = network.forward(window)
        assert features.shape == (1, 512)
        assert torch.allclose(module.fc(features), module(window), atol=1e-5)


def test_dino_from_a_checkpoint_of_its_layout(tmp_path):
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_small_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    path = tmp_path / "dino.pth"
    torch.save({"teacher": {f"module.{key}": value for key, value in module.state_dict().items()}}, path)
    network = load_image_network("dino_vits16", str(path), vbench=True)
    prepared = prepare(moving_texture(1, 40), network)
    with torch.inference_mode():
        assert torch.allclose(network.forward(prepared)["features"], module(prepared), atol=1e-5)
    assert "bilinear" in network.preprocessing
    assert "no crop" in network.preprocessing


def test_vbench_preprocessing_is_torchvisions_resize():
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize

    from evalkit.features.networks.image import IMAGENET, ImageNetwork

    network = ImageNetwork("x", "", lambda x: {"features": x}, *IMAGENET, bicubic=False, antialias=False)
    frames = moving_texture(2, 64)[:, :, :50]
    theirs = Compose(
        [
            Resize(224, InterpolationMode.BILINEAR, antialias=False),
            lambda x: x.div(255.0),
            Normalize(*IMAGENET),
        ]
    )(frames.float())  # VBench's load_video gives float32, which Resize does not round
    assert torch.allclose(prepare(frames, network), theirs, atol=1e-5)


def test_open_clip_from_a_local_checkpoint_speaks_in_both_towers(tmp_path):
    import open_clip

    torch.manual_seed(0)
    module = open_clip.create_model("ViT-S-32-alt").eval()
    path = tmp_path / "clip.pt"
    torch.save(module.state_dict(), path)
    image = Image(network="clip:ViT-S-32-alt", checkpoint=str(path))
    clip = make_clip(moving_texture(2, 48))
    features = image.extract(clip, {})["features"]
    text = ClipText(network="ViT-S-32-alt", checkpoint=str(path))
    words = text.extract("a red ball", {})["features"]
    assert features.shape[1] == words.shape[0]
    assert image.spec.weights_digest == text.spec.weights_digest
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("ViT-S-32-alt")(["a red ball"])
        assert torch.allclose(module.encode_text(tokens)[0], words, atol=1e-5)


def test_missing_weights_name_the_command_and_wrong_layouts_the_key(tmp_path):
    with pytest.raises(MissingWeights, match=r"curl -L .*dino_vitbase16_pretrain\.pth"):
        load_image_network("dino_vitb16")
    with pytest.raises(MissingWeights, match="does not exist"):
        load_video_network("r3d_18", str(tmp_path / "none.pth"))
    path = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(EvalkitError, match="another layout"):
        load_image_network("efficientnet-lite0", str(path))
    with pytest.raises(EvalkitError, match="unknown image network"):
        load_image_network("resnet")


def test_embedded_classifier_knows_what_it_sees():
    """A drawn orange disc is a round thing to it, whatever the batch size."""
    import numpy as np

    from evalkit.features.text import class_names

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:224, 0:224]
    picture = np.zeros((224, 224, 3), np.float32)
    picture[..., 1] = 60 + 20 * rng.random((224, 224))
    disc = (x - 112) ** 2 + (y - 112) ** 2 < 80**2
    shade = 1 - ((x - 90) ** 2 + (y - 85) ** 2) / 200**2
    picture[disc] = np.array([255, 150, 20]) * shade[disc][:, None]
    frames = torch.from_numpy(picture.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)[None].repeat(5, 1, 1, 1)
    result = Image().extract(make_clip(frames), {})
    top = [class_names()[index] for index in result["logits"][0].topk(5).indices]
    assert {"balloon", "ping-pong ball", "orange"} & set(top), top
    assert (result["features"] - result["features"][0]).abs().max() < 1e-4
    assert result["features"].shape == (5, 1280)


def test_raft_from_a_checkpoint_of_torchvisions_layout(tmp_path):
    from torchvision.models.optical_flow import raft_small

    from evalkit.features.flow import Flow

    torch.manual_seed(0)
    module = raft_small(weights=None).eval()
    path = tmp_path / "raft.pth"
    torch.save(module.state_dict(), path)
    flow = Flow(network="raft_small", checkpoint=str(path))
    frames = moving_texture(2, 128)
    result = flow.extract(make_clip(frames), {})
    scaled = frames.float() / 127.5 - 1
    with torch.inference_mode():
        assert torch.allclose(result["forward"], module(scaled[:1], scaled[1:])[-1], atol=1e-4)
        assert torch.allclose(result["backward"], module(scaled[1:], scaled[:1])[-1], atol=1e-4)
    assert "raft_small" in flow.spec.title
    small = flow.extract(make_clip(moving_texture(2, 40)), {})
    assert small["forward"].shape == (1, 2, 40, 40)
    with pytest.raises(MissingWeights, match="raft_large"):
        Flow(network="raft_large").spec  # noqa: B018
