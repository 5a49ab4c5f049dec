"""`evalkit score` as a person calls it: good clips, bad clips, and everything that can be wrong with a folder."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from evalkit.runs.store import Run, open_run
from evalkit.video import Video, encode_lossless

CHEAP = ("--metrics", "vbench.temporal_flickering", "--metrics", "visual.sharpness")


def evalkit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def assert_one_paragraph(text: str, *parts: str) -> None:
    """The error says everything in one line, and no traceback."""
    assert text.strip().count("\n") == 0, text
    for part in parts:
        assert part in text, text


def clip(seed: int) -> Video:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (3, 48, 64), generator=generator, dtype=torch.uint8)
    return Video(torch.stack([noise.roll(t, dims=-1) for t in range(8)]), 8)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Run]:
    """One good clip among broken ones."""
    folder = tmp_path_factory.mktemp("mixed")
    encode_lossless(clip(0), folder / "good.mp4")
    whole = (folder / "good.mp4").read_bytes()
    (folder / "corrupt.mp4").write_bytes(whole[:200] + bytes(len(whole) - 200))
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    (folder / "notes.txt").write_text("not a clip")
    done = evalkit("score", folder, "--layout", "plain", "--out", folder / "run", "--workers", "0", *CHEAP)
    return done, open_run(folder / "run")


def test_broken_files_keep_their_rows_and_cost_no_other(
    mixed: tuple[subprocess.CompletedProcess[str], Run],
) -> None:
    done, run = mixed
    assert done.returncode == 4, done.stderr
    assert run.manifest.status == "partial"
    rows = run.generations.set_index(run.generations.path.map(lambda path: Path(path).stem))
    assert rows.status["good"] == "ok"
    for name in ("corrupt", "truncated", "empty", "text"):
        assert rows.status[name] == "failed", name
        assert_one_paragraph(rows.error[name], f"{name}.mp4")
    scores = run.scores
    assert len(scores) == len(rows) * 2
    assert set(scores[scores.status != "ok"].reason.map(bool)) == {True}
    assert (run.folder / "report" / "index.html").stat().st_size > 1000


def test_json_is_on_stdout_and_words_are_on_stderr(
    mixed: tuple[subprocess.CompletedProcess[str], Run],
) -> None:
    _, run = mixed
    again = evalkit(
        "score",
        run.folder.parent,
        "--layout",
        "plain",
        "--out",
        run.folder,
        "--workers",
        "0",
        "--json",
        *CHEAP,
    )
    assert json.loads(again.stdout)["run_id"] == run.manifest.run_id
    assert "partial: 1 of" in again.stderr


def test_a_folder_without_clips(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    done = evalkit("score", tmp_path, "--layout", "plain", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert_one_paragraph(done.stderr, str(tmp_path), "clip")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    done = evalkit("score", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert_one_paragraph(done.stderr, "nowhere")


def test_an_unknown_prompt_and_a_prompt_without_a_clip(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "suite: mine\nversion: '1'\nlicence: CC0-1.0\ndescription: two prompts\nprompts:\n"
        "  - {id: ball, text: a red ball rolls over the lawn, category: object}\n"
        "  - {id: boat, text: a small boat crosses the bay at dusk, category: object}\n"
    )
    clips = tmp_path / "clips"
    clips.mkdir()
    encode_lossless(clip(1), clips / "ball.mp4")
    encode_lossless(clip(2), clips / "zeppelin.mp4")
    done = evalkit(
        "score",
        clips,
        "--layout",
        "plain",
        "--suite",
        suite,
        "--out",
        tmp_path / "run",
        "--workers",
        "0",
        *CHEAP,
    )
    assert done.returncode == 4, done.stderr
    rows = open_run(tmp_path / "run").generations
    assert list(rows[rows.prompt_id == "ball"].status) == ["ok"]
    assert list(rows[rows.prompt_id == "boat"].status) == ["missing"]
    strangers = rows[rows.path.fillna("").str.endswith("zeppelin.mp4")]
    assert list(strangers.status) == ["missing"]
    assert "zeppelin" in strangers.error.iloc[0]


def test_a_suite_with_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "suite: mine\nversion: '1'\nlicence: CC0-1.0\ndescription: two prompts\nprompts:\n"
        "  - {id: ball, text: a red ball rolls over the lawn, category: object}\n"
        "  - {id: ball, text: a small boat crosses the bay at dusk, category: object}\n"
    )
    done = evalkit("run", "--suite", suite, "--model", "reference", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert_one_paragraph(done.stderr, f"{suite}:7:", "duplicate", "'ball'", "line 6")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--model", "refrence"), ("refrence", "reference")),
        (("--model", "reference", "--metrics", "temporal.flikker"), ("temporal.flikker", "temporal.flicker")),
        (("--model", "reference", "--category", "colr"), ("colr", "colour")),
        (("--model", "reference", "--num-frames", "0"), ("num_frames", "positive")),
        (("--model", "reference", "--engine", "rey"), ("rey",)),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_made(
    arguments: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path
) -> None:
    done = evalkit("run", "--suite", "core", "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2, done.stderr
    assert_one_paragraph(done.stderr, *parts)
    assert not (tmp_path / "run" / "clips").exists()


@pytest.mark.shared_data
def test_vbench_flicker_on_real_clips_equals_the_published_formula(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = evalkit(
        "score",
        shared_data / "lavie",
        "--layout",
        "vbench",
        "--out",
        out,
        "--metrics",
        "vbench.temporal_flickering",
    )
    assert done.returncode == 0, done.stderr
    run = open_run(out)
    values = run.scores.set_index("clip_id").value
    assert len(run.generations) == 11
    for row in run.generations.itertuples():
        capture = cv2.VideoCapture(row.path)
        frames = []
        while True:
            good, frame = capture.read()
            if not good:
                break
            frames.append(frame.astype(np.float64))
        # VBench: 255 minus the mean absolute difference of neighbouring frames, over 255.
        differences = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
        assert values[row.clip_id] == pytest.approx((255 - np.mean(differences)) / 255, abs=1e-5)


@pytest.mark.shared_data
def test_rated_clips_of_several_models_stay_apart(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    rated = shared_data / "rated"
    done = evalkit(
        "score", rated / "clips", "--prompts", rated / "ratings.csv", "--out", out, "--metrics",
        "vbench.temporal_flickering",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = open_run(out).generations
    assert len(rows) == 100
    assert set(rows.status) == {"ok"}
    assert dict(rows.group.value_counts()) == dict.fromkeys(
        ["cogvideo", "text2video-zero", "videofusion", "zeroscope", "gt"], 20
    )
