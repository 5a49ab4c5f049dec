"""Runs leave in other benchmarks' layouts and come back through the layouts that read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import run_model
from evalkit.errors import EvalkitError
from evalkit.metrics.peer_results import evalcrafter_record, read_compbench, read_evalcrafter
from evalkit.metrics.vbench_scores import read_results
from evalkit.runs.exports import _vbench_name, export_run
from evalkit.suites import Prompt, Suite
from evalkit.suites.importers import import_suite
from evalkit.suites.layouts import scan_folder
from tests.engine import toys

TEXTS = {
    "plain": ("a red ball", "colour", ("vbench.color", "vbench.subject_consistency")),
    "path": ("a cat/dog, seen from above?", "animals", ()),
    "long": ("a very " * 40 + "long street", "animals", ()),
    "case": ("A Red Ball", "colour", ()),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    prompts = tuple(Prompt(name, text, category, tags) for name, (text, category, tags) in TEXTS.items())
    return run_model(
        Suite("mine", "1.0", "CC0-1.0", "", prompts),
        toys.Toy(),
        tmp_path_factory.mktemp("run") / "run",
        samples=2,
        metrics=("vbench.temporal_flickering", "visual.sharpness"),
        executor=InlineExecutor(),
    )


def values(run, sample=None):
    table = run.scores.query("metric_id == 'vbench.temporal_flickering'")
    return {(row.prompt_id, row.sample_index): row.value for row in table.itertuples()}


def test_vbench_finds_every_clip_prompt_and_score(run, tmp_path):
    out = tmp_path / "vbench"
    done = export_run(run, "vbench", out)
    assert (done.clips, done.scores, done.left_out) == (8, ("temporal_flickering",), ())
    assert (out / "videos" / "a red ball-1.mp4").is_file()
    info = json.loads((out / "full_info.json").read_text())
    assert info[0]["dimension"] == ["color", "subject_consistency"]
    assert info[1]["dimension"][0] == "subject_consistency"
    assert {entry["prompt_en"] for entry in info} == {text for text, *_ in TEXTS.values()}
    assert all((out / path).is_file() for entry in info for path in entry["video_list"])
    ((overall, clips),) = read_results(out / "evalkit_eval_results.json").values()
    expected = values(run)
    # VBench averages a dimension over the prompts made for it: the plain one is made for two others.
    asked = [value for (prompt, _), value in expected.items() if prompt != "plain"]
    assert overall == pytest.approx(sum(asked) / 6)
    assert len(clips) == 6
    assert "videos/a red ball-0.mp4" not in clips
    named = [json.loads(line) for line in (out / "evalkit_clips.jsonl").read_text().splitlines()]
    assert {(line["prompt_id"], line["sample_index"]) for line in named} == set(expected)
    (file,) = [line["file"] for line in named if (line["prompt_id"], line["sample_index"]) == ("long", 1)]
    assert clips[file] == expected["long", 1]
    scan = scan_folder(out / "videos", layout="vbench", suite=run.suite)
    found = {(clip.prompt.id, clip.sample_index) for clip in scan.clips if clip.problem is None}
    lost = set() if (out / "videos" / "A Red Ball-0.mp4").is_file() else {"case"}  # file systems without case
    assert found >= {key for key in expected if key[0] not in lost}
    again = import_suite(out / "full_info.json")
    assert {prompt.text for prompt in again} == {text for text, *_ in TEXTS.values()}


def test_evalcrafter_gets_numbers_and_prompts(run, tmp_path):
    out = tmp_path / "evalcrafter"
    done = export_run(run, "evalcrafter", out)
    assert done.clips == 4
    assert len(done.left_out) == 4
    assert (out / "prompts" / "0002.txt").read_text().strip() == TEXTS["long"][0]
    assert sorted(path.name for path in (out / "videos").iterdir()) == [f"{k:04d}.mp4" for k in range(4)]


def test_compbench_gets_a_folder_a_category_and_is_read_back(run, tmp_path):
    out = tmp_path / "compbench"
    export_run(run, "t2v-compbench", out)
    suite = import_suite(out / "prompts", "t2v-compbench")
    scan = scan_folder(out, layout="t2v-compbench", suite=suite)
    shown = {clip.prompt.text for clip in scan.clips if clip.problem is None}
    assert shown == {text for text, *_ in TEXTS.values()}


def test_the_command_and_its_refusals(run, tmp_path):
    from evalkit.cli import app

    result = CliRunner().invoke(
        app, ["export", str(run.folder), "--layout", "vbench", "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 0, result.output
    assert "8 clips; scores: temporal_flickering" in result.output
    with pytest.raises(EvalkitError, match="is not empty"):
        export_run(run, "vbench", tmp_path / "o")
    with pytest.raises(EvalkitError, match="known: vbench, evalcrafter, t2v-compbench"):
        export_run(run, "other", tmp_path / "x")
    with pytest.raises(EvalkitError, match="no group 'theirs'"):
        export_run(run, "vbench", tmp_path / "x", group="theirs")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=300))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_prompt_is_never_a_path(text):
    try:
        name = _vbench_name(text)
    except EvalkitError:
        return
    assert not set(name) & set('/\\:*?"<>|\x00\n')
    assert len(name.encode()) <= 240
    assert name not in (".", "..")


def test_totals_from_result_files(tmp_path):
    from evalkit.cli import app
    from evalkit.metrics.vbench_scores import QUALITY, SEMANTIC

    for number, names in enumerate((tuple(QUALITY), SEMANTIC)):
        content = {name: [1.0, [{"video_path": "a.mp4", "video_results": 1.0}]] for name in names}
        (tmp_path / f"{number}_eval_results.json").write_text(json.dumps(content))
    files = [str(tmp_path / f"{number}_eval_results.json") for number in (0, 1)]
    result = CliRunner().invoke(app, ["metrics", "totals", "--json", *files])
    assert json.loads(result.stdout)["quality"] == pytest.approx(
        (6.5 + 0.2945 / 0.2915 - 1 + 0.0) / 6.5, abs=0.01
    )
    lacking = CliRunner().invoke(app, ["metrics", "totals", files[0]])
    assert "missing: object_class" in str(lacking.exception)


def test_records_of_peers_come_back_and_cut_ones_are_refused(tmp_path):
    path = tmp_path / "clip_temp_score_record.txt"
    clips = [("0000.mp4", 0.5), ("0001.mp4", 1 / 3)]
    path.write_text(evalcrafter_record("clip_temp_score", clips))
    assert read_evalcrafter(path) == ("clip_temp_score", pytest.approx(5 / 12), dict(clips))
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(EvalkitError, match="counts 2 clips, the file lists 1"):
        read_evalcrafter(path)
    path.write_text("nothing")
    with pytest.raises(EvalkitError, match="did EvalCrafter finish"):
        read_evalcrafter(path)
    table = tmp_path / "numeracy.csv"
    table.write_text('id,Score_frame_1,Score_1\n0001,"[1.0, 0.0]",0.5\n0002,"[1.0, 1.0]",1.0\nscore: ,0.75\n')
    assert read_compbench(table) == ("numeracy", 0.75, {"0001": 0.5, "0002": 1.0})
    table.write_text("id,Score_1\n0001,0.5\n0002,1.0\nscore: ,0.5\n")
    with pytest.raises(EvalkitError, match=r"states a mean of 0\.5"):
        read_compbench(table)
    table.write_text("a,b\n")
    with pytest.raises(EvalkitError, match="T2V-CompBench result"):
        read_compbench(table)
