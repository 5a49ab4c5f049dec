"""Clips that are scored together: the numbers of clips scored alone, and nothing that one does to another."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.engine.device import freest, resolve_device, visible_cards
from evalkit.engine.executor import InlineExecutor, LocalExecutor
from evalkit.engine.generate import clip_row
from evalkit.engine.run import make_executor, rescore, run_model, scored_on
from evalkit.engine.score import ClipToScore, ScoredRow, ScoreJob
from evalkit.errors import EvalkitError, RunError
from evalkit.runs.plan import PlannedClip
from evalkit.testing.runs import make_suite
from evalkit.video import encode_lossless
from tests.engine import faulty
from tests.engine.toys import Toy
from tests.metrics.clips import make_clip, moving_texture

METRICS = ("temporal.subject_consistency", "temporal.background_consistency", "vbench.temporal_flickering")
# Neither lengths nor sizes agree, so that passes of four frames begin in one clip and end in another.
SHAPES = ((3, 64), (6, 64), (2, 48), (5, 64))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for seed, (count, size) in enumerate(SHAPES):
        paths.append(folder / f"{seed}.mp4")
        encode_lossless(make_clip(moving_texture(count, size, (1.5, 0.5), seed)), paths[-1])
    return paths


def job_in(folder: Path) -> ScoreJob:
    folder.mkdir(exist_ok=True)
    job = ScoreJob(METRICS, make_suite(4), folder, own_clips=False, together=4)
    job.open()
    return job


def items(paths: Sequence[Path]) -> list[ClipToScore]:
    """The clips without previews, which cost more than everything else here."""
    empty = [clip_row(PlannedClip(f"p{number:04}", "", "", 0)) for number in range(len(paths))]
    return [
        ClipToScore(row | {"path": str(path)}, METRICS, set_features=False, preview=False)
        for row, path in zip(empty, paths, strict=True)
    ]


def numbers(row: ScoredRow | Exception) -> dict[str, Any]:
    assert isinstance(row, ScoredRow)
    return {name: (score[0], score[1], score[2]) for name, score in row.scores.items()}


def same(row: ScoredRow | Exception, alone: ScoredRow) -> None:
    assert numbers(row).keys() == numbers(alone).keys() == set(METRICS)
    for name, (status, value, series) in numbers(row).items():
        assert (status, value, series) == (
            numbers(alone)[name][0],
            pytest.approx(numbers(alone)[name][1], abs=1e-6),
            pytest.approx(numbers(alone)[name][2], abs=1e-6),
        )


def test_numbers_are_those_of_clips_scored_alone_whatever_the_neighbours(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.video import files

    opened: list[str] = []
    read = files.read_container

    def counted(source: Any, *rest: Any, **named: Any) -> Any:
        opened.append(str(source))
        return read(source, *rest, **named)

    alone = [job_in(tmp_path / "alone").run(item) for item in items(clips)]
    monkeypatch.setattr(files, "read_container", counted)
    together = dict(job_in(tmp_path / "together").run_together(items(clips)))
    assert len(opened) == len(clips)
    backwards = dict(job_in(tmp_path / "backwards").run_together(items(clips)[::-1]))
    for position, row in enumerate(alone):
        assert row.row["status"] == "ok"
        same(together[position], row)
        same(backwards[len(clips) - 1 - position], row)
    # The features that were stored meanwhile are found: nothing is opened again.
    opened.clear()
    known = [
        ClipToScore(row.row, METRICS[:1], set_features=False, preview=False)
        for row in together.values()
        if isinstance(row, ScoredRow)
    ]
    again = dict(job_in(tmp_path / "together").run_together(known))
    assert [numbers(again[position])[METRICS[0]] for position in range(4)] == [
        numbers(together[position])[METRICS[0]] for position in range(4)
    ]
    assert opened == []


def test_a_clip_that_fails_leaves_its_neighbours_alone(clips: list[Path], tmp_path: Path) -> None:
    broken, gone = tmp_path / "broken.mp4", tmp_path / "gone.mp4"
    broken.write_bytes(clips[0].read_bytes()[:300])
    paths = [clips[0], broken, gone, clips[3]]
    results = dict(job_in(tmp_path / "run").run_together(items(paths)))
    rows = [results[position] for position in range(4)]
    assert all(isinstance(row, ScoredRow) for row in rows)
    assert [row.row["status"] for row in rows] == ["ok", "failed", "failed", "ok"]  # type: ignore[union-attr]
    assert "is gone" in rows[2].row["error"]  # type: ignore[union-attr]
    for row in (rows[0], rows[3]):
        assert {status for status, _, _ in numbers(row).values()} == {"ok"}


def test_frames_that_one_pass_cannot_take_are_passed_clip_by_clip(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.features.image import Image

    monkeypatch.setattr(
        Image, "extract_many", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full"))
    )
    results = dict(job_in(tmp_path / "run").run_together(items(clips[:2])))
    assert {status for row in results.values() for status, _, _ in numbers(row).values()} == {"ok"}


def test_a_full_disk_stops_the_run_and_fails_no_clip(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_in(tmp_path / "run")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    results = dict(job.run_together(items(clips[:2])))
    assert [type(result) for result in results.values()] == [RunError, RunError]


class Together:
    """Squares numbers four at a time; seven kills the process. Says in which process, and which cards it sees."""

    together = 4
    device = "cuda"
    gpu = "whole"

    def open(self) -> None:
        pass

    def run(self, item: int) -> tuple[int, int, str | None]:
        if item == 7:
            faulty.die()
        return item * item, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")

    def run_together(self, items: Sequence[int]) -> Iterator[tuple[int, Any]]:
        for position, item in enumerate(items):
            yield position, ValueError("three is odd") if item == 3 else self.run(item)


def test_of_items_done_together_only_the_guilty_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.engine.executor.visible_cards", lambda: ("5", "6"))
    outcomes = {outcome.index: outcome for outcome in LocalExecutor(1).map(Together(), range(40))}
    assert sorted(outcomes) == list(range(40))
    assert {index for index, outcome in outcomes.items() if outcome.error} == {3, 7}
    assert outcomes[3].error is not None
    assert outcomes[3].error.startswith("ValueError: three is odd")
    assert outcomes[7].crashed
    assert "SIGKILL" in str(outcomes[7].error)
    assert str(outcomes[7].error).endswith("2 times on this item")
    good = [outcome.result for index, outcome in outcomes.items() if index not in (3, 7)]
    assert [square for square, _, _ in good] == [i * i for i in outcomes if i not in (3, 7)]
    # One worker at a time: each took the first card, which the one before it had left.
    assert {cards for _, _, cards in good} == {"5"}


def test_a_model_gets_one_worker_a_card_unless_workers_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.engine.executor.visible_cards", lambda: ("0",))
    job = Together()
    outcomes = list(LocalExecutor(3, model_a_card=True).map(job, range(20, 32)))
    assert len({outcome.result[1] for outcome in outcomes}) == 1
    assert make_executor("local", None).model_a_card  # type: ignore[attr-defined]
    assert not make_executor("local", 3).model_a_card  # type: ignore[attr-defined]


def test_workers_spread_over_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str | None] = []
    for _ in range(5):
        taken.append(freest(("0", "1"), taken))
    assert taken == ["0", "1", "0", "1", "0"]
    assert freest(("0", "1"), ["0", "0", "1"]) == "1"
    assert freest(("0",), []) is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert visible_cards() == ("GPU-a", "GPU-b")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_cards() == ("0", "1")


class Elsewhere(Toy):
    """Stands for a program or a service with a GPU of its own."""

    own_device = True

    def load(self, device: str) -> None:
        super().load(device)
        assert device == "cuda:0"


def test_a_model_that_computes_elsewhere_needs_no_gpu_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    plain: dict[str, Any] = {"metrics": METRICS[2:], "executor": InlineExecutor(), "device": "cuda:0"}
    with pytest.raises(EvalkitError, match=r"--device cuda:0 was asked.*--device cpu"):
        run_model(make_suite(1), Elsewhere(), tmp_path / "refused", **plain)
    with pytest.raises(EvalkitError, match=r"--device cuda:0 was asked"):
        run_model(make_suite(1), Toy(), tmp_path / "refused", score_device="cpu", **plain)
    assert not (tmp_path / "refused").exists()
    run = run_model(make_suite(1), Elsewhere(), tmp_path / "run", score_device="cpu", **plain)
    assert run.manifest.status == "complete"
    assert (run.manifest.environment["device"], scored_on(run)) == ("cuda:0", "cpu")
    assert rescore(run.folder, metrics=("visual.sharpness",), executor=InlineExecutor()).scores.shape[0] == 2


class Cluster(InlineExecutor):
    def __init__(self, gpu: bool) -> None:
        object.__setattr__(self, "gpu", gpu)

    def has_gpu(self) -> bool:
        return self.gpu


def test_auto_is_a_gpu_where_the_workers_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("auto", InlineExecutor()) == "cpu"
    assert resolve_device("cpu", InlineExecutor()) == "cpu"
    with pytest.raises(EvalkitError, match="--device cuda was asked"):
        resolve_device("cuda", InlineExecutor())
    # The driver of a cluster may have no card of its own.
    assert resolve_device("auto", Cluster(True)) == "cuda"
    assert resolve_device("auto", Cluster(False)) == "cpu"
    assert resolve_device("cuda", Cluster(False)) == "cuda"
    with pytest.raises(EvalkitError, match="Ray chooses the card"):
        resolve_device("cuda:1", Cluster(True))
    with pytest.raises(EvalkitError, match="unknown device 'gpu'"):
        resolve_device("gpu", Cluster(True))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto", InlineExecutor()) == "cuda"


def test_shares_of_a_gpu_are_for_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvalkitError, match="is for --engine ray"):
        make_executor("local", 2, scoring_gpus=0.25)
    for share in (0.0, -1.0, 1.5):
        with pytest.raises(EvalkitError, match="part of a GPU"):
            make_executor("ray", 2, gpus=share)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    shared = make_executor("ray", 2, gpus=2.0, scoring_gpus=0.125)
    assert (shared.gpus, shared.scoring_gpus) == (2.0, 0.125)  # type: ignore[attr-defined]
    assert ScoreJob(METRICS, make_suite(1), tmp_path, device="cuda:1").gpu == "shared"
    assert ScoreJob(METRICS, make_suite(1), tmp_path).gpu is None
