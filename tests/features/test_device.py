"""Networks on a device. Torch's `meta` device stands for a GPU: it computes nothing, and refuses to mix with the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evalkit import _torchvision
from evalkit.errors import EvalkitError
from evalkit.features.compute import FeaturePlan
from evalkit.features.device import check_device, exact, kind_of, on_device, upload
from evalkit.features.networks.image import load_image_network, prepare
from evalkit.features.networks.video import load_video_network, prepare_window
from evalkit.features.protocol import FeatureRequest
from evalkit.features.registry import load_extractor
from evalkit.features.requests import image_request
from evalkit.metrics.registry import load_metrics
from evalkit.runs.feature_store import request_keys
from tests.features.tiny import tiny_clip

_torchvision.ensure()


def frames(count: int = 4, height: int = 40, width: int = 56) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def efficientnet(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    network = load_image_network("efficientnet-lite0")
    assert network.module is not None
    return network.module, network.forward, prepare(frames(), network)


def clip(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    _, parameters = tiny_clip(folder)
    network = load_image_network(f"clip:{parameters['network']}", parameters["checkpoint"])
    assert network.module is not None
    return network.module, network.forward, prepare(frames(), network)


def video_clip(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    _, parameters = tiny_clip(folder)
    network = load_video_network(f"clip:{parameters['network']}", parameters["checkpoint"])
    assert network.module is not None
    return network.module, network.forward, prepare_window(frames(), network)


def musiq(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    from evalkit.features.networks.musiq import Musiq

    module = Musiq(12, 24, 1).eval()
    return module, module, frames(1).float() / 255


def raft(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    from torchvision.models.optical_flow import raft_small

    module = raft_small(weights=None).eval()
    return module, lambda pair: module(pair, pair, num_flow_updates=1), torch.zeros(1, 3, 128, 128)


def i3d(folder: Path) -> tuple[torch.nn.Module, Callable[..., object], torch.Tensor]:
    from evalkit.features.networks.i3d import I3D

    module = I3D().eval()
    return module, module, torch.zeros(1, 3, 16, 224, 224)


def tensors_of(result: object) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return list(result.values() if isinstance(result, dict) else result)  # type: ignore[call-overload]


@pytest.mark.parametrize("make", [efficientnet, clip, video_clip, musiq, raft, i3d])
def test_every_network_computes_where_it_is_told(make: Callable[..., object], tmp_path: Path) -> None:
    module, forward, pixels = make(tmp_path)  # type: ignore[misc]
    assert on_device(module, forward, "cpu") is forward
    there = on_device(module, forward, "meta")
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    with torch.inference_mode():
        results = tensors_of(there(pixels))
    assert results
    assert {result.device.type for result in results} == {"meta"}


def test_keys_name_the_device_and_those_of_the_processor_stay() -> None:
    metrics = ["temporal.subject_consistency", "vbench.temporal_flickering"]
    here, there, other = (
        request_keys(FeaturePlan(load_metrics(metrics), device)) for device in ("cpu", "cuda", "cuda:1")
    )
    assert here == request_keys(FeaturePlan(load_metrics(metrics)))
    assert there == other
    different = {request for request in here if here[request] != there[request]}
    assert different == {image_request()}


def test_the_processors_instance_is_not_the_other_devices() -> None:
    request = image_request()
    here, there = load_extractor(request), load_extractor(request, "cuda")
    assert (here.spec.device, there.spec.device) == ("cpu", "cuda")
    assert load_extractor(request, "cuda") is there
    # Asking for identity loads no CUDA: the network is where it was loaded.
    assert {parameter.device.type for parameter in there._loaded.module.parameters()} == {"cpu"}  # type: ignore[attr-defined]


def test_extractors_without_a_network_stay_on_the_processor() -> None:
    for name in ("frames", "luma", "flow", "text"):
        assert load_extractor(FeatureRequest(name), "cuda").spec.device == "cpu"


def test_products_are_computed_in_float32_and_settings_are_put_back() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic
    with exact():
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic) == (False, False, True)
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic) == before


def test_frames_reach_a_gpu_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: steps.append("pinned") or tensor)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda tensor, *where, **how: steps.append((where, how)) or tensor
    )
    upload(torch.zeros(2), "cuda:1")
    upload(torch.zeros(2), "cpu")
    assert steps == ["pinned", (("cuda:1",), {"non_blocking": True}), (("cpu",), {})]


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "tpu"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(EvalkitError, match="use cpu, cuda, cuda:N, mps or auto"):
        check_device(device)


def test_a_gpu_that_is_not_there_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("cpu")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(EvalkitError, match=r"--device cuda was asked.*processor only.*use --device cpu"):
        check_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(EvalkitError, match=r"torch sees no GPU.*nvidia-smi.*--device cpu"):
        check_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda")
    check_device("cuda:1")
    with pytest.raises(EvalkitError, match="cuda:0 to cuda:1"):
        check_device("cuda:2")
    assert [kind_of(device) for device in ("cpu", "cuda", "cuda:3")] == ["cpu", "cuda", "cuda"]
