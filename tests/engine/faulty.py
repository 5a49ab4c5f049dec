"""Metrics and extractors that misbehave on the prompt named by each rule, installed as a plugin package."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from evalkit.features.protocol import ClipFeatures, ExtractorSpec, FeatureRequest
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.spec import ClipScore, MetricSpec, SetScore
from evalkit.models.protocol import GenerationFailure, GenerationRequest
from evalkit.video import Video
from tests.engine.toys import Toy

ENTRY_POINTS = """\
[evalkit.metrics]
faulty.brightness = tests.engine.faulty:Brightness
faulty.contrast = tests.engine.faulty:Contrast
faulty.everything = tests.engine.faulty:Everything
faulty.distance = tests.engine.faulty:Distance

[evalkit.extractors]
faulty.means = tests.engine.faulty:Means
faulty.stuck = tests.engine.faulty:Stuck
"""

MEANS, STUCK = FeatureRequest("faulty.means"), FeatureRequest("faulty.stuck")


def install(folder: Path) -> None:
    """Make `folder`, when it is on sys.path, an installed package with the entry points above."""
    info = folder / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(3600)


def card(name: str, **facts: object) -> MetricSpec:
    return MetricSpec(name, "1", name, name, "higher", default=False, **facts)  # type: ignore[arg-type]


class Means:
    """Mean and deviation of every frame; cached. Counts its calls in the folder `$FAULTY_CALLS`."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec("faulty.means", "1", "clip", "frame means")

    def extract(self, subject: Video | str, inputs: object) -> Mapping[str, torch.Tensor]:
        assert isinstance(subject, Video)
        calls = os.environ.get("FAULTY_CALLS")
        if calls:
            (Path(calls) / f"{subject.clip_id}-{time.monotonic_ns()}").touch()
        frames = subject.frames.float().flatten(1)
        return {"mean": frames.mean(1), "std": frames.std(1)}


class Stuck:
    """Kills its worker on clips that begin with a black pixel."""

    requires: ClassVar[tuple[FeatureRequest, ...]] = ()
    spec = ExtractorSpec("faulty.stuck", "1", "clip", "first pixel")

    def extract(self, subject: Video | str, inputs: object) -> Mapping[str, torch.Tensor]:
        assert isinstance(subject, Video)
        pixel = subject.frames[0, :, 0, 0].float()
        if not pixel.any():
            die()
        return {"pixel": pixel[None]}


class Brightness(BaseMetric):
    spec = card("faulty.brightness", series="frame")
    needs = (MEANS,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        means = clip.tensor(MEANS, "mean")
        return ClipScore(float(means.mean()), means.tolist())


class Contrast(BaseMetric):
    spec = card("faulty.contrast")
    needs = (MEANS,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        return ClipScore(float(clip.tensor(MEANS, "std").mean()))


class Everything(BaseMetric):
    """p0001 kills the process, p0002 hangs, p0003 is NaN, p0004 has a NaN in its series, p0005 exits, p0006
    reads a tensor of the wrong shape."""

    spec = card("faulty.everything", series="frame")
    needs = (MEANS,)

    def score(self, clip: ClipFeatures) -> ClipScore:
        assert clip.record.prompt is not None
        match clip.record.prompt.id:
            case "p0001":
                die()
            case "p0002":
                hang()
            case "p0003":
                return ClipScore(float("nan"))
            case "p0004":
                return ClipScore(1.0, [0.0, float("nan")])
            case "p0005":
                sys.exit("giving up")
            case "p0006":
                return ClipScore(float((clip.tensor(MEANS, "mean") @ torch.ones(1000, 3)).mean()))
        return ClipScore(1.0)


class Distance(BaseMetric):
    """A set metric whose extractor kills the worker on a black clip."""

    spec = card("faulty.distance")
    needs = (STUCK,)

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        return clip.tensor(STUCK, "pixel")

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        value = float((generated.mean(0) - reference.mean(0)).norm())
        return SetScore(value, None, None, "means", len(generated), len(reference))


class FaultyModel(Toy):
    """p0001 kills the process, p0002 hangs, p0003 has NaN, p0004 the wrong shape, p0005 exits, p0006 is black."""

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        match request.prompt_id:
            case "p0001":
                die()
            case "p0002":
                hang()
            case "p0003":
                return Video(torch.full((6, 3, 32, 48), float("nan")), request.fps)
            case "p0004":
                return Video(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), request.fps)
            case "p0005":
                sys.exit("giving up")
            case "p0006":
                return Video(torch.zeros(6, 3, 32, 48, dtype=torch.uint8), request.fps)
        return super().clip(request)


class Blackout(Toy):
    """One black clip among others."""

    def clip(self, request: GenerationRequest) -> Video | GenerationFailure:
        if request.prompt_id == "p0006":
            return Video(torch.zeros(6, 3, 32, 48, dtype=torch.uint8), request.fps)
        return super().clip(request)


class Miscounting(Toy):
    """Gives one result too few for batches."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        return super().generate(requests)[: max(1, len(requests) - 1)]


class Sharing:
    """A job on a share of a GPU; says which process ran an item, which card it saw, and how many workers had opened."""

    gpu = "whole"

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers = folder, workers

    def open(self) -> None:
        (self.folder / str(os.getpid())).touch()

    def run(self, item: int) -> tuple[int, str | None, int]:
        give_up = time.monotonic() + 300  # workers may take long to start
        while len(list(self.folder.iterdir())) < self.workers and time.monotonic() < give_up:
            time.sleep(0.01)
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), len(list(self.folder.iterdir()))


class KillsItsNode:
    """A job whose first item on the machine `victim` kills that machine's Ray daemon; other machines wait for that."""

    def __init__(self, victim: str, marker: Path) -> None:
        self.victim, self.marker = victim, marker

    def open(self) -> None:
        pass

    def run(self, item: int) -> tuple[int, str]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        if node == self.victim and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getppid(), signal.SIGKILL)  # a worker's parent is its machine's raylet
            hang()
        give_up = time.monotonic() + 300  # a worker of the other machine may take long to start
        while not self.marker.exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        return item * item, node
