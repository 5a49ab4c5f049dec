"""Runs with real clips, rendered once for the whole area."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.report import ReportedFailure, render_gallery, render_report
from evalkit.runs.store import Run, open_run
from evalkit.suites.prompt import Prompt, Suite
from evalkit.testing.runs import make_run, make_suite
from evalkit.video import Video

FRAMES = 16
FPS = 8
FLICKER = (6, 11)
"""Frames of the flickering stretch, in the clips of prompt 3."""

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "</script><svg onload=\"document.title='owned'\">",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd \u0627\u062e\u062a\u0628\u0627\u0631 \u202d override",
    "long " * 2000,
    "x" * 10_000,
    "\U0001f600" * 80 + " \U0001f469\u200d\U0001f469\u200d\U0001f467 party",
    "`code` **bold** | pipe [a](javascript:alert(1)) {{ 7 * 7 }} ${7*7} \\u003cb\\u003e",
    "&lt;b&gt; &amp; \u2028 line separators \u2029 \u0000 nul".replace("\u0000", ""),
)


def moving_square(seed: int, *, flicker: bool = False, strobe: bool = False) -> Video:
    """A square over a textured floor; with a flickering stretch, or a strobe over the whole picture."""
    rng = np.random.default_rng(seed)
    floor = np.kron(rng.uniform(60, 130, (8, 8, 3)), np.ones((8, 8, 1)))
    frames = []
    for t in range(FRAMES):
        frame = floor.copy()
        left = 4 + 2 * t
        frame[24:40, left : left + 16] = (220, 90, 40)
        if flicker and FLICKER[0] <= t <= FLICKER[1] and t % 2:
            frame *= 1.3
        if strobe:
            frame *= 1.9 if t % 2 else 0.2
        frames.append(frame)
    pixels = np.clip(np.stack(frames), 0, 255).astype(np.uint8)
    return Video(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), Fraction(FPS))


def differences(video: Video) -> list[float]:
    """Mean absolute difference of neighbouring frames, 0..1: low is calm."""
    frames = video.frames.double()
    return ((frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3)) / 255).tolist()


def build(
    folder: Path,
    suite: Suite,
    clip: Callable[[int, int], Video],
    *,
    samples: int = 2,
    failed: tuple[tuple[int, int], ...] = (),
    model: str = "candidate",
) -> Run:
    """A run over real clips: one metric measured on them, one made up, and the cost."""
    clips = {(p, s): clip(p, s) for p in range(len(suite)) for s in range(samples)}
    courses = {key: differences(video) for key, video in clips.items()}
    rng = np.random.default_rng(7)
    shape = (len(suite), samples)
    values = {
        "temporal.change": np.array(
            [[np.mean(courses[p, s]) for s in range(samples)] for p in range(len(suite))]
        ),
        "alignment.made_up": rng.normal(0.3, 0.05, shape),
        "cost.seconds_per_clip": rng.gamma(20, 0.1, shape),
    }
    values["alignment.made_up"][0, 0] = np.nan
    return make_run(
        folder,
        values=values,
        suite=suite,
        directions={"temporal.change": "lower", "cost.seconds_per_clip": "lower"},
        failed=failed,
        series=lambda metric, p, s: courses[p, s] if metric == "temporal.change" else [],
        clip=lambda p, s: clips[p, s],
        model={"id": model, "revision": "1.0"},
        metrics={
            "temporal.change": {"title": "Frame change", "leaf": "temporal.flicker"},
            "alignment.made_up": {"title": "Prompt alignment", "series": "none"},
            "cost.seconds_per_clip": {"title": "Seconds per clip", "unit": "s", "series": "none"},
        },
    )


@pytest.fixture(scope="session")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Eight prompts, two samples: prompt 3 flickers in frames 6 to 11, prompt 5 strobes, one clip failed."""
    suite = make_suite(8, categories=("colour", "motion", "count"))
    return build(
        tmp_path_factory.mktemp("runs") / "candidate",
        suite,
        lambda p, s: moving_square(10 * p + s, flicker=p == 3, strobe=p == 5),
        failed=((7, 1),),
    )


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same prompts without a defect."""
    suite = make_suite(8, categories=("colour", "motion", "count"))
    return build(
        tmp_path_factory.mktemp("runs") / "baseline",
        suite,
        lambda p, s: moving_square(10 * p + s),
        model="previous",
    )


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Prompts, ids, categories and a suite name that try to be markup."""
    prompts = tuple(
        Prompt(
            id=f"p{index}\"'><i>{index}</i>",
            text=text,
            category=("<b>category</b>", "plain")[index % 2],
            negative="<u>negative</u>",
        )
        for index, text in enumerate(HOSTILE)
    )
    suite = Suite(name="<i>hostile</i>", version="1", licence="CC0-1.0", description="", prompts=prompts)
    return build(
        tmp_path_factory.mktemp("runs") / "hostile",
        suite,
        lambda p, s: moving_square(p),
        samples=1,
        failed=((1, 0),),
        model="<img src=x onerror=alert(1)>",
    )


@pytest.fixture(scope="session")
def report_page(candidate: Run, gallery_page: Path) -> Path:
    """The report of `candidate`, linked with its gallery."""
    return render_report(candidate)


@pytest.fixture(scope="session")
def gallery_page(candidate: Run, baseline: Run) -> Path:
    """The gallery of `candidate` against `baseline`, with one failure report."""
    clip_id = candidate.generations["clip_id"].dropna().iloc[6]
    report = ReportedFailure(clip_id, "01JABCDEF", "temporal.flicker", "S2", "confirmed", "flickers", 6, 11)
    return render_gallery(candidate, baseline, [report])


@pytest.fixture(scope="session")
def hostile_pages(hostile: Run) -> list[Path]:
    """Gallery and report of the hostile run."""
    return [render_gallery(hostile), render_report(hostile)]


@pytest.fixture(scope="session")
def many_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gallery of a run with 5,000 clips that have scores and series, and no files."""
    folder = tmp_path_factory.mktemp("runs") / "many"
    rng = np.random.default_rng(0)
    metrics = ["temporal.change", "alignment.made_up", "visual.sharpness", "motion.amount"]
    course = rng.random(8).tolist()
    make_run(
        folder,
        values={metric: rng.random((1250, 4)) for metric in metrics},
        suite=make_suite(1250, categories=("colour", "motion", "count", "camera", "style")),
        series=lambda metric, p, s: course if metric == "temporal.change" else [],
    )
    return render_gallery(open_run(folder))
