from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from evalkit.errors import EvalkitError
from evalkit.models import GenerationFailure, load_model
from evalkit.models.folder import FolderModel
from evalkit.testing import check_model
from evalkit.video import Video, decode, encode_lossless
from tests.models.good import NoiseModel, request


def clip(seed: int, *, frames: int = 3) -> Video:
    made = NoiseModel().make(request(seed=seed, num_frames=frames))
    assert isinstance(made, Video)
    return made


def store(folder: Path, **clips: Video) -> Path:
    for name, video in clips.items():
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        encode_lossless(video, path)
    return folder


def test_clips_are_found_by_id_sample_and_text(tmp_path: Path) -> None:
    names = {
        "ball-0": 1,
        "ball-1": 2,
        "cube": 3,
        "a green star-2": 4,
        "0007": 5,
        "numeracy/0003": 6,
        "either_or-0": 7,
    }
    store(tmp_path, **{name: clip(seed) for name, seed in names.items()})
    model = FolderModel(path=str(tmp_path))
    model.load("cpu")
    asked = [
        request("a red ball", prompt_id="ball"),
        request("a red ball", prompt_id="ball", sample_index=1),
        request("a cube", prompt_id="cube"),
        request("a green star", prompt_id="star", sample_index=2),
        request("a horse", prompt_id="evalcrafter-0007"),
        request("three cats", prompt_id="numeracy-0003"),
        request("either/or", prompt_id="choice"),
    ]
    assert model.generate(asked) == [clip(seed) for seed in names.values()]


def test_what_is_not_there_fails_alone(tmp_path: Path) -> None:
    store(tmp_path, ball=clip(1))
    (tmp_path / "text.mp4").write_text("no clip at all")
    model = FolderModel(path=str(tmp_path))
    good, missing, broken = model.generate(
        [request(params={"style": "oil"}), request(prompt_id="cube"), request(prompt_id="text")]
    )
    assert isinstance(good, Video)
    assert isinstance(missing, GenerationFailure)
    assert missing.permanent
    assert "no clip 0 for prompt 'cube'" in missing.reason
    assert "cube-0, cube_0, cube" in missing.reason
    assert isinstance(broken, GenerationFailure)
    assert "text.mp4" in broken.reason
    assert model.ignored_params == {"style"}


def test_identity_is_the_bytes_and_names_of_the_clips_not_where_they_are(tmp_path: Path) -> None:
    first = store(tmp_path / "a", ball=clip(1), cube=clip(2))
    shutil.copytree(first, tmp_path / "elsewhere")
    same, moved = FolderModel(path=str(first)).info, FolderModel(path=str(tmp_path / "elsewhere")).info
    assert (same.weights, same.config) == (moved.weights, moved.config)
    (tmp_path / "elsewhere" / "cube.mp4").rename(tmp_path / "elsewhere" / "die.mp4")
    assert FolderModel(path=str(tmp_path / "elsewhere")).info.weights != same.weights
    store(first, cube=clip(3))
    assert FolderModel(path=str(first)).info.weights != same.weights
    assert same.defaults == {"num_frames": 3, "height": 16, "width": 24, "fps": "8"}
    assert same.own_shape


def test_a_table_names_the_clips_of_one_model(tmp_path: Path) -> None:
    folder = store(tmp_path / "clips", x1=clip(1), x2=clip(2), y1=clip(3))
    table = tmp_path / "t.csv"
    table.write_text(
        "file,model,id,prompt\nclips/x1.mp4,m,ball,p\nclips/x2.mp4,m,ball,p\nclips/y1.mp4,n,ball,p\n"
    )
    model = load_model(f"folder:path={folder},prompts={table},group=m")
    assert model.generate([request(sample_index=1), request(sample_index=0)]) == [clip(2), clip(1)]
    (failure,) = model.generate([request(sample_index=2)])
    assert isinstance(failure, GenerationFailure)
    assert "as t.csv says" in failure.reason
    with pytest.raises(EvalkitError, match=r"no clips of group 'q'; groups: \['m', 'n'\]"):
        _ = load_model(f"folder:path={folder},prompts={table},group=q").info


def test_sub_folders_are_groups(tmp_path: Path) -> None:
    store(tmp_path, **{"new/ball": clip(1), "old/ball": clip(2)})
    assert FolderModel(path=str(tmp_path), group="old").generate([request()]) == [clip(2)]


def test_the_folder_model_honours_the_contract(tmp_path: Path) -> None:
    store(tmp_path, **{"check-0": clip(1), "check-1": clip(2, frames=5)})
    report = check_model(lambda: FolderModel(path=str(tmp_path)), seeded=False)
    assert len(report.notes) == 2


def test_real_clips_under_their_vbench_names(shared_data: Path) -> None:
    model = FolderModel(path=str(shared_data / "lavie"), revision="LaVie")
    text = "A beautiful coastal beach in spring, waves lapping on sand, oil painting"
    (video,) = model.generate([request(text, prompt_id="beach")])
    assert video == decode(shared_data / "lavie" / f"{text}-0.mp4")
    assert (model.info.defaults["num_frames"], model.info.defaults["fps"]) == (16, "8")


def test_real_clips_of_one_rated_model(shared_data: Path) -> None:
    rated = shared_data / "rated"
    model = FolderModel(path=str(rated / "clips"), prompts=str(rated / "ratings.csv"), group="zeroscope")
    (video,) = model.generate([request("people are dancing", prompt_id="actions-2")])
    assert isinstance(video, Video)
    assert torch.equal(video.frames, decode(rated / "clips" / "zeroscope__actions__2.gif").frames)
    assert isinstance(video.fps, Fraction)
