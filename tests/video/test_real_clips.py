"""The decoder on real clips of generative models and cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from evalkit.video import decode, decode_untrusted, decode_with_info, encode_lossless, probe

pytestmark = pytest.mark.shared_data


def test_every_mp4_agrees_with_another_decoder(shared_data: Path) -> None:
    paths = sorted((shared_data / "lavie").glob("*.mp4"))
    assert paths
    for path in paths:
        capture = cv2.VideoCapture(str(path))
        video, info, _ = decode_with_info(path)
        assert (video.num_frames, video.fps) == (16, 8)
        assert probe(path).num_frames == info.num_frames == 16
        for frame in video.frames:
            assert np.array_equal(capture.read()[1][..., ::-1], frame.permute(1, 2, 0).numpy())


def test_gifs_agree_with_another_decoder(shared_data: Path) -> None:
    paths = sorted((shared_data / "rated" / "clips").glob("*.gif"))[::6]
    assert paths
    for path in paths:
        video = decode(path)
        with Image.open(path) as image:
            assert video.num_frames == image.n_frames
            for index, frame in enumerate(video.frames):
                image.seek(index)
                assert np.array_equal(np.asarray(image.convert("RGB")), frame.permute(1, 2, 0).numpy()), path


def test_the_store_keeps_real_clips_exactly(shared_data: Path, tmp_path: Path) -> None:
    for path in (
        min((shared_data / "lavie").glob("*.mp4")),
        min((shared_data / "rated" / "clips").glob("*.gif")),
    ):
        video = decode(path)
        encode_lossless(video, tmp_path / "clip.mp4")
        back = decode(tmp_path / "clip.mp4")
        assert torch.equal(back.frames, video.frames)
        assert back.clip_id == video.clip_id


def test_the_child_reads_a_real_clip(shared_data: Path) -> None:
    path = min((shared_data / "lavie").glob("*.mp4"))
    assert decode_untrusted(path) == decode_with_info(path)
