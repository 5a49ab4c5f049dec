"""Bar 1: everything but the networks of eight VBench-type dimensions, as VBench's code does it and in one pass.

VBench opens the file once for every dimension, keeps whole clips as float32, scales them with torchvision's float
path, and calls networks frame by frame. Here its pattern of opens, decodes, conversions, resizes and calls is
written anew, dimension by dimension; evalkit's side runs through `evalkit.video.decode`, `FeaturePlan` and
`prepare`, the code that a run executes. Both call the same stand-in networks, which cost next to nothing. The peer's clips are decoded by OpenCV and PyAV, which are no slower than
VBench's decord.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
import torch

from benchmarks.perf.clips import write_clip
from benchmarks.perf.measure import Bar, alternate
from evalkit import _torchvision

SHAPES = {"49x480x720": (49, 480, 720, 4.0), "16x256x256": (16, 256, 256, 3.0)}
DINO = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
TEXT = torch.linspace(-1, 1, 3 * 224)


class StandIns:
    """The networks of both sides, next to free: mean rows, sampled differences for flow, midpoints for frames."""

    calls = 0

    @classmethod
    def embed(cls, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures `(n, 3, h, w)` to `(n, 3 h)`: the mean of every row."""
        cls.calls += 1
        return pictures.mean(-1).flatten(1)

    @classmethod
    def flow(cls, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Pictures `(1, 3, H, W)` in 0..255, twice, to one number."""
        cls.calls += 1
        return (second[..., ::8, ::8] - first[..., ::8, ::8]).abs().mean()

    @classmethod
    def middle(cls, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Pictures `(1, 3, H, W)` in 0..1, twice, to the picture between them."""
        cls.calls += 1
        return torch.lerp(first, second, 0.5)


def consistency(features: torch.Tensor) -> float:
    """VBench's mean of similarities to the first and to the previous frame."""
    features = torch.nn.functional.normalize(features, dim=-1)
    first = (features[1:] @ features[0]).clamp(min=0)
    previous = (features[1:] * features[:-1]).sum(-1).clamp(min=0)
    return float(((first + previous) / 2).mean())


def middle_frames(count: int) -> np.ndarray:
    """Eight frames, each from the middle of an eighth of the clip."""
    edges = np.linspace(0, count, 9).astype(int)
    return (edges[:-1] + edges[1:] - 1) // 2


# ---- the peer's pattern


def _decord_like(path: Path) -> torch.Tensor:
    with av.open(str(path)) as source:
        source.streams.video[0].thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(video=0)]
    # float32 by this constructor, so that resizing neither rounds nor clamps.
    return torch.Tensor(np.stack(frames)).permute(0, 3, 1, 2)


def _cv2_frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            capture.release()
            return frames
        frames.append(frame)


def _normalised(
    frames: torch.Tensor, statistics: tuple[tuple[float, ...], tuple[float, ...]]
) -> torch.Tensor:
    import torchvision.transforms.functional as tv

    return tv.normalize(frames.float().div(255.0), *statistics)


def _dino(frames: torch.Tensor) -> torch.Tensor:
    import torchvision.transforms as transforms

    return _normalised(transforms.Resize(224, antialias=False)(frames), DINO)


def _clip(frames: torch.Tensor) -> torch.Tensor:
    import torchvision.transforms as transforms

    scaled = transforms.Resize(224, transforms.InterpolationMode.BICUBIC, antialias=False)(frames)
    return _normalised(transforms.CenterCrop(224)(scaled), CLIP)


def peer(path: Path) -> dict[str, float]:
    """The eight dimensions, one after the other, each from the file."""
    import torchvision.transforms as transforms

    scores = {}
    pictures = _dino(_decord_like(path))
    scores["subject_consistency"] = consistency(
        torch.cat([StandIns.embed(picture[None]) for picture in pictures])
    )
    scores["background_consistency"] = consistency(StandIns.embed(_clip(_decord_like(path))))
    frames = _cv2_frames(path)
    differences = [
        np.mean(cv2.absdiff(np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)))
        for a, b in itertools.pairwise(frames)
    ]
    scores["temporal_flickering"] = (255.0 - float(np.mean(differences))) / 255.0
    frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in _cv2_frames(path)]
    inputs = [torch.tensor(frame).permute(2, 0, 1).unsqueeze(0) / 255.0 for frame in frames[::2]]
    made = [
        (StandIns.middle(a, b)[0] * 255.0).permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()
        for a, b in itertools.pairwise(inputs)
    ]
    left_out = frames[1::2][: len(made)]
    errors = [np.mean(cv2.absdiff(a, b)) for a, b in zip(left_out, made, strict=True)]
    scores["motion_smoothness"] = (255.0 - float(np.mean(errors))) / 255.0
    tensors = [
        torch.from_numpy(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8))
        .permute(2, 0, 1)
        .float()[None]
        for frame in _cv2_frames(path)
    ]
    scores["dynamic_degree"] = float(
        torch.stack([StandIns.flow(a, b) for a, b in itertools.pairwise(tensors)]).mean()
    )
    pictures = _clip(_decord_like(path))
    scores["aesthetic_quality"] = float(
        torch.cat([StandIns.embed(batch).mean(1) for batch in pictures.split(32)]).mean()
    )
    frames_ = _decord_like(path)
    height, width = frames_.shape[-2:]
    if max(height, width) > 512:
        scale = 512.0 / max(height, width)
        frames_ = transforms.Resize((int(scale * height), int(scale * width)), antialias=False)(frames_)
    frames_ = frames_ / 255.0
    scores["imaging_quality"] = float(
        torch.stack([StandIns.embed(picture[None]).mean() for picture in frames_]).mean()
    )
    whole = _decord_like(path)
    chosen = _clip(whole[torch.from_numpy(middle_frames(len(whole)))])
    clip_feature = torch.nn.functional.normalize(StandIns.embed(chosen).mean(0), dim=0)
    scores["overall_consistency"] = float(clip_feature @ torch.nn.functional.normalize(TEXT, dim=0))
    return scores


# ---- evalkit: extractors and metrics like any plugin's, over one decoded clip


def _network(statistics: tuple[tuple[float, ...], tuple[float, ...]], **how: object) -> object:
    from evalkit.features.networks.image import ImageNetwork

    return ImageNetwork(
        "stand-in", "", lambda x: {"features": StandIns.embed(x)}, *statistics, antialias=False, **how
    )


class _Extractor:
    requires: ClassVar = ()

    def __init__(self, name: str, compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        from evalkit.features.protocol import ExtractorSpec

        self.spec = ExtractorSpec(name, "1", "clip", "stand-in")
        self.compute = compute

    def extract(self, subject: object, inputs: object) -> Mapping[str, torch.Tensor]:
        with torch.inference_mode():
            return {"features": self.compute(subject.frames)}  # type: ignore[attr-defined]


def _embedded(network: object) -> Callable[[torch.Tensor], torch.Tensor]:
    from evalkit.features.networks.image import prepare

    return lambda frames: torch.cat(
        [network.forward(prepare(batch, network))["features"] for batch in frames.split(4)]  # type: ignore[attr-defined]
    )


def _imaging(frames: torch.Tensor) -> torch.Tensor:
    height, width = frames.shape[-2:]
    scale = min(1.0, 512.0 / max(height, width))
    size = (int(scale * height), int(scale * width)) if scale < 1 else (height, width)
    rows = []
    for frame in frames.permute(0, 2, 3, 1).numpy():
        if scale < 1:
            frame = cv2.resize(frame.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
        rows.append(StandIns.embed(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255.0))
    return torch.cat(rows)


def _smoothness(frames: torch.Tensor) -> torch.Tensor:
    pictures = frames.permute(0, 2, 3, 1).numpy()
    before, errors = None, []
    for index in range(0, len(frames), 2):
        now = frames[index].float()[None].div_(255.0)
        if before is not None:
            made = StandIns.middle(before, now)[0].mul_(255.0).permute(1, 2, 0).clamp_(0, 255).to(torch.uint8)
            errors.append(cv2.norm(pictures[index - 1], made.numpy(), cv2.NORM_L1) / pictures[0].size)
        before = now
    return torch.tensor(errors, dtype=torch.float64)


def _flow(frames: torch.Tensor) -> torch.Tensor:
    before, rows = frames[0].float()[None], []
    for frame in frames[1:]:
        now = frame.float()[None]
        rows.append(StandIns.flow(before, now))
        before = now
    return torch.stack(rows)


class _Metric:
    params: ClassVar = {}

    def __init__(self, name: str, request: object, formula: Callable[[torch.Tensor], float]) -> None:
        from evalkit.metrics.spec import MetricSpec

        self.spec = MetricSpec(name, "1", name, name, "higher")
        self.request, self.formula = request, formula

    def requires(self) -> tuple[object, ...]:
        return (self.request,)

    def score(self, clip: object) -> object:
        from evalkit.metrics.spec import ClipScore

        return ClipScore(self.formula(clip.tensor(self.request, "features")))  # type: ignore[attr-defined]


def single_pass() -> Callable[[Path], dict[str, float]]:
    """Our side: a `FeaturePlan` of the eight dimensions."""
    from evalkit.features import registry
    from evalkit.features.compute import FeaturePlan, score_clip
    from evalkit.features.protocol import ClipRecord, FeatureRequest
    from evalkit.metrics.vbench import TemporalFlickering
    from evalkit.video import decode

    clip = _embedded(_network(CLIP, crop=True))

    def middles(frames: torch.Tensor) -> torch.Tensor:
        return clip(frames[torch.from_numpy(middle_frames(len(frames)))])

    computed = {
        "dino": _embedded(_network(DINO, bicubic=False)),
        "clip": clip,
        "laion": clip,
        "musiq": _imaging,
        "amt": _smoothness,
        "raft": _flow,
        "viclip": middles,
    }
    text = torch.nn.functional.normalize(TEXT, dim=0)
    formulas: dict[str, tuple[str, Callable[[torch.Tensor], float]]] = {
        "subject_consistency": ("dino", consistency),
        "background_consistency": ("clip", consistency),
        "motion_smoothness": ("amt", lambda errors: (255.0 - float(errors.mean())) / 255.0),
        "dynamic_degree": ("raft", lambda rows: float(rows.mean())),
        "aesthetic_quality": ("laion", lambda rows: float(rows.mean())),
        "imaging_quality": ("musiq", lambda rows: float(rows.mean())),
        "overall_consistency": (
            "viclip",
            lambda rows: float(torch.nn.functional.normalize(rows.mean(0), dim=0) @ text),
        ),
    }
    extractors = {f"standin.{name}": _Extractor(f"standin.{name}", run) for name, run in computed.items()}
    real = registry.EXTRACTORS.load
    registry.EXTRACTORS.load = lambda name: (lambda: extractors[name]) if name in extractors else real(name)  # type: ignore[method-assign]
    metrics = [
        _Metric(name, FeatureRequest(f"standin.{network}"), formula)
        for name, (network, formula) in formulas.items()
    ]
    plan = FeaturePlan([*metrics, TemporalFlickering()])  # type: ignore[list-item]
    registry.EXTRACTORS.load = real  # type: ignore[method-assign]

    def score(path: Path) -> dict[str, float]:
        video = decode(path)
        record = ClipRecord(None, video.num_frames, video.height, video.width, video.fps)
        features = plan.clip_features(video, record)
        scores = {}
        for metric in plan.clip_metrics:
            found = score_clip(metric, features)
            assert found.status == "ok", found.reason
            scores[metric.spec.id.removeprefix("vbench.")] = float(found.value or math.nan)
        return scores

    return score


def bars(rounds: int, quick: bool) -> list[Bar]:
    """Speed at both shapes, and how far the scores are apart."""
    _torchvision.ensure()
    ours = single_pass()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, (frames, height, width, limit) in SHAPES.items():
            path = write_clip(Path(folder) / f"{shape}.mp4", frames, height, width)
            theirs, mine = peer(path), ours(path)
            apart = max(abs(theirs[name] - mine[name]) for name in theirs)
            worst = max(theirs, key=lambda name: abs(theirs[name] - mine[name]))
            StandIns.calls = 0
            peer(path)
            calls = StandIns.calls
            clock = alternate(
                {
                    "VBench's pattern": lambda path=path: peer(path),
                    "evalkit": lambda path=path: ours(path),
                    "bare decode": lambda path=path: _decord_like(path),
                },
                rounds,
            )
            ratio = clock.ratio("VBench's pattern", "evalkit")
            floor = clock.ratio("evalkit", "bare decode")
            found += [
                Bar(
                    f"1 {shape}",
                    f"data path of eight VBench-type dimensions at {shape}, VBench's pattern / evalkit",
                    ratio,
                    limit,
                    "at least",
                    detail=f"{clock.ms()}; evalkit is {floor:.1f}x a bare decode; the peer makes {calls} calls",
                ),
                Bar(
                    f"1s {shape}",
                    f"largest difference of the eight scores at {shape}",
                    apart,
                    1e-6,
                    "at most",
                    unit="",
                    detail=f"largest in {worst}",
                ),
            ]
    return found
