"""Scores of other benchmarks' own code come into the run whose clips they are of."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from evalkit.compare.check import metric_obstacle
from evalkit.engine.executor import InlineExecutor
from evalkit.engine.peer_scores import import_scores
from evalkit.engine.run import rescore, run_model
from evalkit.errors import EvalkitError, MissingWeights
from evalkit.metrics.peer_results import evalcrafter_record
from evalkit.metrics.peers import PEERS
from evalkit.metrics.registry import METRICS, metric_specs
from evalkit.metrics.vbench_scores import QUALITY, SEMANTIC, export_results
from evalkit.runs.exports import export_run
from evalkit.runs.store import open_run
from evalkit.suites import Prompt, Suite
from tests.engine import toys

SUITE = Suite(
    "mine",
    "1.0",
    "CC0-1.0",
    "",
    (
        Prompt("one", "alley", "scene", ("vbench.scene",)),
        Prompt("two", "a red ball", "numeracy", ("vbench.color",)),
    ),
)


@pytest.fixture
def run(tmp_path):
    return run_model(
        SUITE,
        toys.Toy(),
        tmp_path / "run",
        samples=1,
        metrics=("visual.sharpness",),
        executor=InlineExecutor(),
    )


def of(run, metric):
    return {
        row.prompt_id: (row.status, row.value)
        for row in run.scores.query("metric_id == @metric").itertuples()
    }


def test_vbenchs_scene_comes_home_and_stays_through_rescore(run, tmp_path):
    export_run(run, "vbench", tmp_path / "out")
    result = tmp_path / "mine_eval_results.json"
    result.write_text(json.dumps(export_results("scene", [(str(tmp_path / "out/videos/alley-0.mp4"), 0.75)])))
    done = import_scores(run, [result], exported=tmp_path / "out")
    assert done == ({"vbench.scene": 1}, ())
    again = open_run(run.folder)
    scores = of(again, "vbench.scene")
    assert scores["one"] == ("ok", 0.75)
    assert scores["two"][0] == "not_applicable"
    record = again.manifest.metric("vbench.scene")
    assert record.features == {"imported": "the peer's own result file"}
    (note,) = [note for note in again.manifest.notes if "imported" in note]
    assert note.startswith("vbench.scene was imported from mine_eval_results.json (sha256:")
    assert again.manifest.counts.scores_planned == len(again.scores) == 4
    import_scores(again, [result], exported=tmp_path / "out")
    assert len(open_run(run.folder).scores) == 4
    rescore(run.folder, executor=InlineExecutor())
    kept = of(open_run(run.folder), "vbench.scene")
    assert kept["one"] == ("ok", 0.75)


def test_values_of_one_id_from_two_origins_are_not_compared(run, tmp_path):
    export_run(run, "vbench", tmp_path / "out")
    result = tmp_path / "x_eval_results.json"
    clips = [(f"videos/{name}-0.mp4", value) for name, value in (("alley", 80.0), ("a red ball", 60.0))]
    result.write_text(json.dumps(export_results("imaging_quality", clips)))
    import_scores(run, [result], exported=tmp_path / "out")
    again = open_run(run.folder)
    assert of(again, "vbench.imaging_quality")["one"] == ("ok", 0.8)  # VBench lists single clips in 0..100
    record = again.manifest.metric("vbench.imaging_quality")
    own = record.model_copy(update={"features": {"quality": "MUSIQ"}, "key": "k"})
    assert "encoder of" in metric_obstacle(record, own)


def test_evalcrafter_and_compbench_come_home_too(run, tmp_path):
    export_run(run, "evalcrafter", tmp_path / "crafter")
    record = tmp_path / "sd_score_record.txt"
    record.write_text(evalcrafter_record("sd_score", [("0000.mp4", 0.5), ("0001.mp4", 0.25)]))
    assert import_scores(run, [record], exported=tmp_path / "crafter").metrics == {"evalcrafter.sd_score": 2}
    export_run(open_run(run.folder), "t2v-compbench", tmp_path / "bench")
    table = tmp_path / "numeracy_score.csv"
    table.write_text("id,Score_1\n0001,0.5\nscore: ,0.5\n")
    import_scores(open_run(run.folder), [table], exported=tmp_path / "bench")
    again = open_run(run.folder)
    assert of(again, "evalcrafter.sd_score") == {"one": ("ok", 0.5), "two": ("ok", 0.25)}
    scores = of(again, "compbench.numeracy")  # both categories have a 0001: the metric's own is meant
    assert scores["two"] == ("ok", 0.5)
    assert scores["one"][0] == "not_applicable"


def test_what_cannot_be_placed_is_refused(run, tmp_path):
    result = tmp_path / "x_eval_results.json"
    result.write_text(json.dumps(export_results("scene", [("elsewhere-0.mp4", 0.75)])))
    with pytest.raises(EvalkitError, match=r"none of its 1 clips .*'elsewhere-0.mp4'.*--exported"):
        import_scores(run, [result])
    with pytest.raises(EvalkitError, match=r"evalkit_clips\.jsonl does not exist"):
        import_scores(run, [result], exported=tmp_path)
    result.write_text(json.dumps(export_results("beauty", [("a.mp4", 0.75)])))
    with pytest.raises(EvalkitError, match=r"vbench\.beauty, which is no metric"):
        import_scores(run, [result])
    (tmp_path / "other.csv").write_text("id,Score_1\n0001,0.5\nscore: ,0.5\n")
    with pytest.raises(EvalkitError, match="name it after one of"):
        import_scores(run, [tmp_path / "other.csv"])
    export_run(run, "vbench", tmp_path / "out")
    files = [tmp_path / f"{number}_eval_results.json" for number in (1, 2)]
    for number, file in enumerate(files):
        file.write_text(json.dumps(export_results("scene", [("videos/alley-0.mp4", float(number))])))
    with pytest.raises(EvalkitError, match="other values in an earlier file"):
        import_scores(run, files, exported=tmp_path / "out")
    assert set(of(run, "visual.sharpness")) == {"one", "two"}


def test_the_command(run, tmp_path):
    from evalkit.cli import app

    export_run(run, "vbench", tmp_path / "out")
    result = tmp_path / "x_eval_results.json"
    result.write_text(json.dumps(export_results("scene", [("videos/alley-0.mp4", 1.0), ("x.mp4", 0.0)])))
    done = CliRunner().invoke(
        app, ["metrics", "import", str(run.folder), str(result), "--exported", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "vbench.scene: 1 clips" in done.stderr
    assert "1 clips of the files are none of the run's, such as x.mp4" in done.stderr


def test_all_sixteen_dimensions_are_listed_and_import_only_ones_say_so():
    specs = metric_specs()
    listed = {name.removeprefix("vbench.") for name in specs if name.startswith("vbench.")}
    assert listed == {*QUALITY, *SEMANTIC}
    assert len(PEERS) == 6 + 14 + 7
    for name in PEERS:
        assert specs[name].id == name
        assert not specs[name].default
        assert specs[name].limits.startswith("Import only")
        with pytest.raises(MissingWeights, match="evalkit metrics import RUN FILE") as caught:
            METRICS.load(name)().score(None)
        assert f"{PEERS[name].needs}, which evalkit does not run" in str(caught.value)
