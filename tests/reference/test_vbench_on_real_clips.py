"""VBench's flicker formula on real clips, decoded by another library."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from evalkit.metrics.functional import frame_differences
from evalkit.video import decode


@pytest.mark.shared_data
def test_flickering_of_lavie_is_vbenchs(shared_data):
    clips = sorted((shared_data / "lavie").glob("*.mp4"))
    assert len(clips) == 11
    for path in clips[::3]:
        capture, frames = cv2.VideoCapture(str(path)), []
        while True:
            good, frame = capture.read()
            if not good:
                break
            frames.append(frame)
        capture.release()
        # vbench/temporal_flickering.py: mean of cv2.absdiff over neighbouring frames, then (255 - mean) / 255.
        differences = [
            np.mean(cv2.absdiff(np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)))
            for a, b in zip(frames[:-1], frames[1:], strict=True)  # noqa: RUF007  (as the peer writes it)
        ]
        expected = (255.0 - np.mean(differences)) / 255.0
        ours = (255.0 - float(frame_differences(decode(path).frames).mean())) / 255.0
        assert ours == pytest.approx(expected, abs=1e-5), path.name
