"""Runs in object stores: stored whole, compared there, fetched whole, and never made there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from evalkit.cli import app
from evalkit.engine.executor import InlineExecutor
from evalkit.engine.run import run_model
from evalkit.errors import RunError
from evalkit.runs.store import Run, open_run
from evalkit.runs.transfer import fetch_run, opened, store_run
from evalkit.testing.runs import make_suite
from tests.engine import toys
from tests.engine.object_store import object_store

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "first"
    metrics = ("vbench.temporal_flickering", "visual.sharpness")
    return run_model(make_suite(3), toys.Toy(), out, metrics=metrics, executor=InlineExecutor())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    with object_store(tmp_path / "store") as (variables, log):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "store" / "bucket", log


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_run_goes_to_a_store_and_comes_back_byte_for_byte(
    run: Run, store: tuple[Path, list[str]], tmp_path: Path
) -> None:
    bucket, log = store
    url = "s3://bucket/runs/first"
    assert store_run(run, url) == len(files(run.folder))
    written = [entry.removeprefix("PUT /bucket/runs/first/") for entry in log if entry.startswith("PUT")]
    assert written[-1] == "manifest.json"
    assert files(bucket / "runs" / "first") == files(run.folder)
    back = fetch_run(url, tmp_path / "back")
    assert files(back.folder) == files(run.folder)
    pd.testing.assert_frame_equal(back.scores, run.scores)
    # What came back is a run like any other: the same command finds nothing to do.
    metrics = ("vbench.temporal_flickering", "visual.sharpness")
    again = run_model(make_suite(3), toys.Toy(), back.folder, metrics=metrics, executor=InlineExecutor())
    pd.testing.assert_frame_equal(again.scores, run.scores)
    with pytest.raises(RunError, match="holds a run already"):
        store_run(run, url)
    with pytest.raises(RunError, match="is not empty"):
        fetch_run(url, tmp_path / "back")
    (bucket / "runs" / "first" / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"is not a run: there is no manifest.json"):
        fetch_run(url, tmp_path / "other")


def test_tables_alone_are_read_to_compare(run: Run, store: tuple[Path, list[str]]) -> None:
    _, log = store
    store_run(run, "s3://bucket/first")
    log.clear()
    with opened("s3://bucket/first", str(run.folder)) as (far, near):
        pd.testing.assert_frame_equal(far.scores, near.scores)
        assert far.suite.digest == near.suite.digest
        assert far.folder.name == "first"
        folder = far.folder
    assert not folder.exists()
    assert "GET /bucket/first/scores.parquet" in log
    assert not [entry for entry in log if "/first/clips/" in entry or "/first/previews/" in entry]


def test_the_command_line_stores_compares_and_fetches(
    run: Run, store: tuple[Path, list[str]], tmp_path: Path
) -> None:
    def evalkit(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    url = "s3://bucket/first"
    evalkit("export", str(run.folder), "--layout", "run", "--out", url)
    far = json.loads(
        evalkit("compare", url, str(run.folder), "--json", "--out", str(tmp_path / "comparison"))
    )
    near = json.loads(evalkit("compare", str(run.folder), str(run.folder), "--json"))
    assert far["metrics"] == near["metrics"]
    assert (tmp_path / "comparison").is_dir()
    evalkit("export", url, "--layout", "run", "--out", str(tmp_path / "here"))
    assert open_run(tmp_path / "here").manifest == run.manifest
    with pytest.raises(RunError, match="between a folder and a URL"):
        evalkit("export", str(run.folder), "--layout", "run", "--out", str(tmp_path / "copy"))


def test_a_url_where_a_folder_is_needed_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = r"s3://bucket/first is a URL.*evalkit export RUN --layout run.*evalkit compare"
    with pytest.raises(RunError, match=told):
        open_run("s3://bucket/first")
    for words in (("report", "s3://bucket/first"), ("rescore", "s3://bucket/first")):
        with pytest.raises(RunError, match=told):
            CliRunner().invoke(app, list(words), catch_exceptions=False)
    inline = {"executor": InlineExecutor(), "metrics": ("vbench.temporal_flickering",)}
    with pytest.raises(RunError, match=told):
        run_model(make_suite(1), toys.Toy(), Path("s3://bucket/first"), **inline)
    with pytest.raises(RunError, match=told):
        run_model(make_suite(1), toys.Toy(), Path("run"), reference=Path("s3://bucket/first"), **inline)
    assert list(tmp_path.iterdir()) == []


def test_names_from_a_store_stay_in_the_folder(tmp_path: Path) -> None:
    from evalkit.errors import UnreadableVideo
    from evalkit.remote import copy_from

    (tmp_path / "secret").write_text("x")
    with pytest.raises(UnreadableVideo, match="leads out of the folder"):
        copy_from(f"file://{tmp_path}", ["../secret"], tmp_path / "in")
