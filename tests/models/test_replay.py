from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evalkit.engine.run import run_model
from evalkit.errors import EvalkitError
from evalkit.models import GenerationFailure, GenerationRequest
from evalkit.models.replay import ReplayModel
from evalkit.runs.plan import plan_generation
from evalkit.suites import Prompt, Suite
from evalkit.video import Video, encode_lossless
from tests.models.good import NoiseModel, request

SUITE = Suite(
    "s",
    "1",
    "CC0-1.0",
    "",
    (Prompt("ball", "a red ball", "c"), Prompt("tiny", "a dot", "c", params={"height": 4})),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    run_model(SUITE, NoiseModel(), out, samples=2, seed=5, workers=0, score=False)
    return out


def asked(model: NoiseModel | ReplayModel, seed: int = 5) -> Sequence[GenerationRequest]:
    plan = plan_generation(SUITE, model.info, samples=2, seed=seed)
    return [clip.request for clip in plan.clips if clip.request is not None]


def test_clips_and_failures_come_back_as_they_were(recorded: Path) -> None:
    model = ReplayModel(run=str(recorded))
    model.load("cpu")
    before = NoiseModel().generate(asked(NoiseModel()))
    after = model.generate(asked(NoiseModel()))
    assert after[:2] == before[:2]
    assert (
        [type(one) for one in after]
        == [type(one) for one in before]
        == [Video, Video, GenerationFailure, GenerationFailure]
    )
    assert after[2].reason == "sample 0 of prompt 'tiny' failed in first: 24x4 is smaller than 8x8"
    assert model.info.id == "replay of noise"
    assert model.info.revision == "v1"
    assert model.info.defaults == {"num_frames": 4, "height": 16, "width": 24, "fps": "8"}


def test_a_replayed_run_equals_its_original(recorded: Path, tmp_path: Path) -> None:
    run_model(
        SUITE, ReplayModel(run=str(recorded)), tmp_path / "again", samples=2, seed=5, workers=0, score=False
    )
    columns = [
        "prompt_id",
        "sample_index",
        "seed",
        "clip_id",
        "status",
        "num_frames",
        "height",
        "width",
        "fps",
    ]
    first, second = (
        pq.read_table(run / "generations.parquet", columns=columns).to_pylist()
        for run in (recorded, tmp_path / "again")
    )
    assert first == second


def test_another_seed_text_or_sample_is_refused(recorded: Path) -> None:
    model = ReplayModel(run=str(recorded))
    good = asked(NoiseModel())[0]
    for changed, said in (
        (replace(good, seed=1), "give that run's --seed"),
        (
            replace(good, prompt="a red bull"),
            "was made for the text 'a red ball' in first, not for 'a red bull'",
        ),
        (replace(good, sample_index=9), "holds no sample 9 of prompt 'ball'"),
    ):
        (failure,) = model.generate([changed])
        assert isinstance(failure, GenerationFailure)
        assert failure.permanent
        assert said in failure.reason


def test_a_changed_or_lost_file_is_noticed(recorded: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "first"
    shutil.copytree(recorded, copy)
    rows = pq.read_table(copy / "generations.parquet").to_pylist()
    stored = copy / rows[0]["path"]
    other = NoiseModel().make(request(seed=77))
    assert isinstance(other, Video)
    encode_lossless(other, stored)
    model = ReplayModel(run=str(copy))
    (failure,) = model.generate(asked(NoiseModel())[:1])
    assert isinstance(failure, GenerationFailure)
    assert "holds other pixels than when first was made" in failure.reason
    stored.unlink()
    (failure,) = model.generate(asked(NoiseModel())[:1])
    assert isinstance(failure, GenerationFailure)


def test_folders_that_are_no_finished_run(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="is no run folder"):
        _ = ReplayModel(run=str(tmp_path)).info
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(EvalkitError, match="the run is not finished; run its command again"):
        ReplayModel(run=str(tmp_path)).load("cpu")
    with pytest.raises(EvalkitError, match=r"no clips of group 'x'; groups: \[''\]"):
        _ = ReplayModel(run=str(recorded), group="x").info
