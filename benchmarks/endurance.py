"""A long run that is killed again and again: is anything lost, counted twice or blamed on the wrong clip?

    python -m benchmarks.endurance [--clips 10000] [--kills 20] [--workers 2] [--out FOLDER] [--seed 0]

A model of tiny clips makes `--clips` clips, of which some fail on purpose: it raises, hangs, kills its process, gives the
wrong shape, or gives NaN. The command is killed with SIGKILL (`--kills` times at random moments: the driver alone, one worker, or
everything), files are damaged between two starts (a stored clip is deleted or cut short, a feature is overwritten), and
the same command is started again until it ends. The tables must then be those of a run that nobody disturbed, computed
here from the rules above. Prints one JSON object; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.suites.prompt import FrozenMapping
from evalkit.video import Video

SAMPLES = 2
METRICS = ("vbench.temporal_flickering", "visual.sharpness", "motion.magnitude")
ROOT = Path(__file__).parents[1]


def fate(prompt_id: str, sample: int, clips: int) -> str:
    """What becomes of a clip: nearly always `ok`."""
    index = int(prompt_id[1:]) * SAMPLES + sample
    # One clip that kills its worker and one that hangs cost seconds each; exceptions and wrong shapes cost nothing.
    rare = max(7, clips // 2)
    return {3: "dies", 5: "hangs"}.get(index % rare) or {11: "raises", 17: "shape", 23: "nan"}.get(
        index % 101, "ok"
    )


class Restless:
    """Seeded noise of 4 frames, 16 x 16, and the fates above."""

    ignored_params: frozenset[str] = frozenset()

    def __init__(self, clips: int) -> None:
        self.clips = clips

    @property
    def info(self) -> ModelInfo:
        defaults = FrozenMapping({"num_frames": 4, "height": 16, "width": 16, "fps": "8"})
        return ModelInfo("restless", "v1", batch_size=4, defaults=defaults, config={"clips": self.clips})

    def load(self, device: str) -> None:
        pass

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        return [self._one(request) for request in requests]

    def _one(self, request: GenerationRequest) -> Video | GenerationFailure:
        match fate(request.prompt_id, request.sample_index, self.clips):
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                time.sleep(3600)
            case "raises":
                return GenerationFailure("refused on purpose")
            case "nan":
                return Video(torch.full((4, 3, 16, 16), float("nan")), request.fps)
            case "shape":
                return Video(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), request.fps)
        return Video(pixels(request.seed), request.fps)


def pixels(seed: int) -> torch.Tensor:
    """The frames that a seed stands for."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)


def drive(out: Path, clips: int, workers: int) -> None:
    """The command that is killed."""
    from evalkit.engine.executor import LocalExecutor
    from evalkit.engine.run import run_model
    from evalkit.testing.runs import make_suite

    run_model(
        make_suite(clips // SAMPLES), Restless(clips), out, samples=SAMPLES, metrics=METRICS,
        executor=LocalExecutor(workers), timeout_s=5,
    )  # fmt: skip


def finished_entries(out: Path) -> int:
    """Lines of the journal."""
    try:
        with (out / "journal.jsonl").open("rb") as journal:
            return sum(1 for _ in journal)
    except FileNotFoundError:
        return 0


def members(leader: int) -> list[int]:
    """Living processes of a session, its leader first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(folder.name))
    return sorted(found, key=lambda process: process != leader)


def damage(out: Path, chance: random.Random) -> str | None:
    """Spoil one finished file."""
    kind = chance.choice(["delete clip", "cut clip", "overwrite feature"])
    pattern = "features/*/*.safetensors" if kind == "overwrite feature" else "clips/*.mp4"
    files = sorted(out.glob(pattern))
    if not files:
        return None
    path = chance.choice(files)
    if kind == "delete clip":
        path.unlink()
    elif kind == "cut clip":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(b"\x00" * 64)
    return kind


def differences(out: Path, clips: int) -> list[str]:
    """What is wrong with the finished run; empty when nothing is."""
    from evalkit.metrics.functional.frames import frame_differences
    from evalkit.runs.store import open_run

    run = open_run(out)
    wrong = []
    rows, scores = run.generations, run.scores
    if len(rows) != clips or rows.duplicated(["prompt_id", "sample_index"]).any():
        wrong.append(f"{len(rows)} rows of generations for {clips} clips")
    if (
        len(scores) != clips * len(METRICS)
        or scores.duplicated(["prompt_id", "sample_index", "metric_id"]).any()
    ):
        wrong.append(f"{len(scores)} rows of scores for {clips} clips and {len(METRICS)} metrics")
    words = {
        "dies": "died",
        "hangs": "took longer",
        "raises": "refused on purpose",
        "shape": "where 4x16x16",
        "nan": "must be uint8",
    }
    for row in rows.itertuples():
        due = fate(row.prompt_id, row.sample_index, clips)
        if due == "ok":
            expected = Video(pixels(row.seed), 8).clip_id
            if row.status != "ok" or row.clip_id != expected:
                wrong.append(f"{row.prompt_id}/{row.sample_index}: {row.status} {row.error}")
        elif row.status != "failed" or words[due] not in str(row.error):
            wrong.append(f"{row.prompt_id}/{row.sample_index} {due}: {row.status} {row.error}")
    flicker = scores[scores.metric_id == METRICS[0]]
    for row in flicker.itertuples():
        if fate(row.prompt_id, row.sample_index, clips) == "ok":
            expected = (255 - float(frame_differences(pixels(row.seed)).mean())) / 255
            if row.status != "ok" or abs(row.value - expected) > 1e-12:
                wrong.append(f"{row.prompt_id}/{row.sample_index}: flicker {row.value}, due {expected}")
        elif row.status != "generation_failed":
            wrong.append(f"{row.prompt_id}/{row.sample_index}: flicker is {row.status}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    clips = arguments.clips // SAMPLES * SAMPLES
    if arguments.drive:
        drive(arguments.out, clips, arguments.workers)
        return 0
    chance = random.Random(arguments.seed)
    scratch = Path(tempfile.mkdtemp(prefix="endurance-"))
    out = (arguments.out or scratch) / "run"
    command = [sys.executable, "-m", "benchmarks.endurance", "--drive", "--clips", str(clips)]
    command += ["--workers", str(arguments.workers), "--out", str(out)]
    # Moments of the kills, in journal entries: one an attempt for a clip, and one for its scores.
    moments = sorted(chance.randrange(1, 2 * clips) for _ in range(arguments.kills))
    events: Counter[str] = Counter()
    start = time.monotonic()
    while True:
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)
        while process.poll() is None:
            if moments and finished_entries(out) >= moments[0]:
                moments.pop(0)
                alive = members(process.pid)
                kind = chance.choice(["driver", "worker", "everything"])
                events[f"killed {kind}"] += 1
                for victim in {"driver": alive[:1], "worker": alive[1:][-1:], "everything": alive}[kind]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim, signal.SIGKILL)
            time.sleep(0.05)
        errors = process.communicate()[1].decode()
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the command ended with {process.returncode}: {errors[-2000:]}")
        while members(process.pid):  # workers of a killed driver end by themselves
            time.sleep(0.02)
        spoilt = damage(out, chance)
        if spoilt:
            events[spoilt] += 1
    # A clip that was damaged after its last use is found when it is used again, and made anew: once more, undisturbed.
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wrong = differences(out, clips)
    found: dict[str, Any] = {
        "clips": clips,
        "workers": arguments.workers,
        "events": dict(sorted(events.items())),
        "wall_seconds": round(time.monotonic() - start, 1),
        "differences": wrong[:20],
        "differences_in_all": len(wrong),
    }
    print(json.dumps(found, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
