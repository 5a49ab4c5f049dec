"""A run with injected defects: the gallery puts them first, and marks when they happen."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from evalkit.engine.run import score_found
from evalkit.report import render_gallery
from evalkit.runs.store import Run
from evalkit.suites.layouts import scan_folder
from evalkit.testing.defects import DEFECTS
from evalkit.video import Video, encode_lossless

METRICS = {
    "flicker_gain": "temporal.flicker",
    "blur_burst": "visual.sharpness",
    "frozen_frames": "temporal.freeze",
    "cut": "temporal.cuts",
}
COPIES = 2


def scene(seed: int, background: int = 0) -> Video:
    """24 frames of a ball over a floor that pans; scenes differ in the ball's path."""
    noise = np.random.default_rng(background).uniform(0, 255, (192, 192, 3)).astype(np.float32)
    floor = cv2.GaussianBlur(noise, (0, 0), 3)
    floor = (floor - floor.min()) / np.ptp(floor) * 200 + 20
    frames = []
    for t in range(24):
        frame = floor[t : t + 96, t : t + 96].copy()
        centre = (int(20 + 2.3 * t), int(48 + 10 * np.sin(t / 4 + seed)))
        cv2.circle(frame, centre, 12, (220, 60, 40), -1, cv2.LINE_AA)
        frames.append(frame)
    pixels = np.clip(np.stack(frames), 0, 255).astype(np.uint8)
    return Video(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), Fraction(12))


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, tuple[int, int]]]:
    """Two clips of each defect and four without one, scored; and the true window of each."""
    folder = tmp_path_factory.mktemp("clips")
    truth = {}
    for number in range(len(METRICS) * COPIES + 4):
        video, name = scene(number), f"plain-{number}"
        if number < len(METRICS) * COPIES:
            defect = list(METRICS)[number // COPIES]
            degraded = DEFECTS[defect](video, 1.0, seed=number, donor=scene(number, background=9))
            video, name = degraded.video, f"{defect.replace('_', '-')}-{'ab'[number % COPIES]}"
            truth[name] = degraded.window
        encode_lossless(video, folder / f"{name}.mp4")
    run = score_found(
        scan_folder(folder, "plain"),
        tmp_path_factory.mktemp("run") / "run",
        metrics=list(METRICS.values()),
        workers=0,
    )
    return run, truth


@pytest.fixture(scope="module")
def data(spoiled: tuple[Run, dict[str, tuple[int, int]]]) -> tuple[dict, Path]:
    page = render_gallery(spoiled[0])
    return script_value(page.parent / "data" / "clips.js"), page.parent / "data"


def script_value(path: Path):
    """The value that a data script hands over."""
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index(", ") + 2 : text.rindex(")")])


@pytest.mark.parametrize("defect", METRICS)
def test_the_defective_clips_lead_and_the_window_is_the_true_one(data, spoiled, defect: str, record_property):
    gallery, folder = data
    ids = [metric["id"] for metric in gallery["metrics"]]
    position = ids.index(METRICS[defect])
    worst = next(view for view in gallery["views"] if view["id"] == "worst")
    items = next(section["items"] for section in worst["sections"] if section["items"][0][1] == position)
    leading = [gallery["clips"][clip] for clip, _ in items[:COPIES]]
    names = {f"{defect.replace('_', '-')}-{letter}" for letter in "ab"}
    assert {clip["prompt"] for clip in leading} == names
    entries = script_value(folder / f"series-{position}-0.js")
    for clip, _ in items[:COPIES]:
        first, last, peak = entries[str(clip)][1]
        start, end = spoiled[1][gallery["clips"][clip]["prompt"]]
        overlap = max(0, min(last, end) - max(first, start) + 1)
        iou = overlap / (max(last, end) - min(first, start) + 1)
        record_property(f"temporal_iou_{gallery['clips'][clip]['prompt']}", round(iou, 3))
        assert iou >= 0.8
        assert first <= peak <= last


def test_the_sentence_names_what_a_person_sees(data, spoiled):
    gallery, folder = data
    ids = [metric["id"] for metric in gallery["metrics"]]
    expected = {
        "flicker-gain-a": ("temporal.flicker", "rightness"),
        "frozen-frames-a": ("temporal.freeze", "the same picture"),
        "blur-burst-b": ("visual.sharpness", "ine detail falls"),
    }
    for number, clip in enumerate(gallery["clips"]):
        metric, words = expected.get(clip["prompt"], (None, ""))
        if metric:
            sentence = script_value(folder / f"series-{ids.index(metric)}-0.js")[str(number)][2]
            assert words in sentence, sentence
