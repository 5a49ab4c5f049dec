"""Watermarks that `invisible-watermark` embeds here, read back, handled, and missing."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from evalkit.errors import EvalkitError, MissingExtra, NotApplicable
from evalkit.features.protocol import ClipFeatures, ClipRecord
from evalkit.metrics.base import FRAMES
from evalkit.metrics.registry import load_metric
from evalkit.metrics.watermark import HANDLING, Watermark, WatermarkRobustness
from evalkit.video import Video

PAYLOAD = "c0ffee42"


def textured(size: int = 256) -> np.ndarray:
    """uint8 `(2, size, size, 3)` away from black and white."""
    coarse = torch.rand((2, 3, size // 16, size // 16), generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (60 + 130 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def clip_of(frames: np.ndarray) -> ClipFeatures:
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    record = ClipRecord(None, len(tensor), tensor.shape[2], tensor.shape[3], Fraction(8))
    return ClipFeatures(record, {FRAMES: {"frames": tensor}})


@pytest.fixture(scope="module")
def marked() -> ClipFeatures:
    imwatermark = pytest.importorskip("imwatermark", reason="needs evalkit[watermark]")
    encoder = imwatermark.WatermarkEncoder()
    encoder.set_watermark("bytes", bytes.fromhex(PAYLOAD))
    return clip_of(
        np.stack([encoder.encode(frame[..., ::-1].copy(), "dwtDctSvd")[..., ::-1] for frame in textured()])
    )


def test_a_mark_is_read(marked: ClipFeatures) -> None:
    assert Watermark(PAYLOAD).score(marked).value > 0.95


def test_another_payload_is_told_apart(marked: ClipFeatures) -> None:
    inverted = f"{0xFFFFFFFF ^ int(PAYLOAD, 16):08x}"
    assert Watermark(inverted).score(marked).value < 0.05


def test_without_a_mark_half_the_bits_are_right_by_chance() -> None:
    pytest.importorskip("imwatermark", reason="needs evalkit[watermark]")
    assert 0.2 < Watermark(PAYLOAD).score(clip_of(textured())).value < 0.8


def test_robustness_is_the_worst_handling(marked: ClipFeatures) -> None:
    video = Video(marked.tensor(FRAMES, "frames"), Fraction(8))
    after = {name: Watermark(PAYLOAD).bit_accuracy(change(video)) for name, change in HANDLING.items()}
    assert WatermarkRobustness(PAYLOAD).score(marked).value == min(after.values())
    # This method lives in a grid of blocks: it stands a re-encode, and a crop moves the grid away.
    assert after["re-encoded at crf 23"] > 0.9
    assert after["cropped by 2.5% on every side and enlarged back"] < 0.9


def test_what_it_needs_is_said() -> None:
    with pytest.raises(NotApplicable, match=r"provenance\.watermark:payload=HEX"):
        Watermark().score(clip_of(textured()))
    with pytest.raises(NotApplicable, match="256x256 pixels, the clip has 64x64"):
        Watermark(PAYLOAD).score(clip_of(textured(64)))
    with pytest.raises(EvalkitError, match="not hexadecimal"):
        Watermark("mark").score(clip_of(textured()))
    with pytest.raises(EvalkitError, match="dwtDctSvd, rivaGan"):
        Watermark(PAYLOAD, "magic").score(clip_of(textured()))


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(MissingExtra, match=r"pip install 'evalkit\[watermark\]'"):
        Watermark(PAYLOAD).score(clip_of(textured()))


def test_a_payload_of_digits_comes_from_the_command_line() -> None:
    metric = load_metric("provenance.watermark:payload=12345678")
    assert metric.params == {"payload": "12345678", "method": "dwtDctSvd", "frames": 8}


def test_the_learned_mark_is_read_too() -> None:
    imwatermark = pytest.importorskip("imwatermark", reason="needs evalkit[watermark]")
    pytest.importorskip("onnxruntime", reason="needs evalkit[watermark]")
    encoder = imwatermark.WatermarkEncoder()
    encoder.set_watermark("bytes", bytes.fromhex(PAYLOAD))
    imwatermark.WatermarkEncoder.loadModel()
    marked = clip_of(
        np.stack([encoder.encode(frame[..., ::-1].copy(), "rivaGan")[..., ::-1] for frame in textured()])
    )
    assert Watermark(PAYLOAD, "rivaGan").score(marked).value > 0.95
