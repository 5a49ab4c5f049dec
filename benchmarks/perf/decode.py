"""How far decoding is from its limit: evalkit's against bare PyAV and OpenCV, on the same files.

    python benchmarks/perf/decode.py [--rounds 5] [--json]

Times are process CPU milliseconds on one thread, the median of alternated rounds, with clips made here:
a textured scene that pans, as ordinary H.264 (4:2:0, crf 23) and as evalkit's lossless store writes it.
"bare PyAV" drops every frame at once; "PyAV, kept" stacks them into one array, which is the least that
scoring needs and what the ratio refers to. "decode" is `evalkit.video.decode`; "with facts" adds the digest of the file and `clip_id`, which is what a
run pays. The second table is the choice of the lossless preset: x264rgb crf 0, size and time both ways.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import cv2
import numpy as np
import torch

from evalkit.video import Video, decode, decode_with_info, decoder_id, encode_lossless, probe

SHAPES = {"16x256x256": (16, 256, 256), "64x720x1280": (64, 720, 1280)}
PRESETS = ("ultrafast", "superfast", "veryfast", "medium")


def scene(frames: int, height: int, width: int) -> np.ndarray:
    """uint8 `(T, H, W, 3)`: texture at several scales that pans by three pixels a frame, and some grain."""
    generator = np.random.default_rng(0)
    canvas = np.zeros((height, width + 3 * frames, 3), np.float32)
    for cell in (64, 16, 4):
        rows, columns = height // cell + 2, canvas.shape[1] // cell + 2
        coarse = generator.normal(0, cell / 2 + 4, (rows, columns, 3)).astype(np.float32)
        canvas += cv2.resize(coarse, canvas.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    pans = [canvas[:, 3 * index : 3 * index + width] for index in range(frames)]
    grain = generator.normal(0, 1.5, (frames, height, width, 1))
    return np.clip(np.stack(pans) + grain + 128, 0, 255).astype(np.uint8)


def write_h264(path: Path, frames: np.ndarray, codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format="mp4") as sink:
        stream = sink.add_stream(codec, rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options, stream.thread_type = pix_fmt, options, "NONE"
        for pixels in frames:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode())


def bare_pyav(path: Path) -> int:
    with av.open(str(path)) as source:
        source.streams.video[0].thread_type = "NONE"
        return sum(frame.to_ndarray(format="rgb24", threads=1).ndim > 0 for frame in source.decode(video=0))


def kept_pyav(path: Path) -> np.ndarray:
    with av.open(str(path)) as source:
        source.streams.video[0].thread_type = "NONE"
        return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(video=0)])


def bare_cv2(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def with_facts(path: Path) -> str:
    return decode_with_info(path).video.clip_id


READERS: dict[str, Callable[[Path], object]] = {
    "bare PyAV": bare_pyav,
    "PyAV, kept": kept_pyav,
    "OpenCV": bare_cv2,
    "decode": decode,
    "with facts": with_facts,
    "probe": probe,
}


def alternated(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each call, one of each in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - start))
    # The first round warms caches and imports.
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def measure_readers(folder: Path, rounds: int) -> list[dict[str, object]]:
    rows = []
    for label, shape in SHAPES.items():
        frames = scene(*shape)
        ordinary, store = folder / "ordinary.mp4", folder / "store.mp4"
        write_h264(ordinary, frames, "libx264", "yuv420p", {"crf": "23"})
        encode_lossless(Video(torch.from_numpy(frames).permute(0, 3, 1, 2), Fraction(24)), store)
        for kind, path in (("h264", ordinary), ("lossless store", store)):
            times = alternated(
                {name: lambda path=path, read=read: read(path) for name, read in READERS.items()}, rounds
            )
            rows.append({"clip": f"{label} {kind}", **times, "ratio": times["decode"] / times["PyAV, kept"]})
    return rows


def measure_presets(folder: Path, rounds: int) -> list[dict[str, object]]:
    frames = scene(*SHAPES["16x256x256"])
    path = folder / "preset.mp4"
    rows = []
    for preset in PRESETS:
        options = {"crf": "0", "preset": preset}
        times = alternated(
            {
                "encode": lambda options=options: write_h264(path, frames, "libx264rgb", "rgb24", options),
                "decode": lambda: decode(path),
            },
            rounds,
        )
        rows.append({"preset": preset, **times, "bytes a pixel": path.stat().st_size / (frames.size / 3)})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    cells = [[str(name) for name in rows[0]]]
    cells += [
        [f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures for machines")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        readers = measure_readers(Path(name), arguments.rounds)
        presets = measure_presets(Path(name), arguments.rounds)
    if arguments.json:
        print(json.dumps({"decoder": decoder_id(), "readers": readers, "presets": presets}, indent=2))
    else:
        print(
            f"{decoder_id()}, OpenCV {cv2.__version__}; CPU ms a clip\n\n{table(readers)}\n\n{table(presets)}"
        )


if __name__ == "__main__":
    main()
