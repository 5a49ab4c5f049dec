"""`evalkit report` and `evalkit gallery`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evalkit.cli import main
from evalkit.runs.store import Run
from evalkit.testing.runs import make_run


def call(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def test_report_prints_where_everything_is(candidate: Run, tmp_path: Path, capsys):
    code = call("report", str(candidate.folder), "--out", str(tmp_path / "r"), "--figures", "png", "--json")
    out = json.loads(capsys.readouterr().out)
    assert code == 0
    assert Path(out["page"]) == (tmp_path / "r" / "index.html").resolve()
    assert all(Path(figure).read_bytes().startswith(b"\x89PNG") for figure in out["figures"])
    assert (Path(out["tables"]) / "metrics.tex").is_file()


def test_gallery_takes_a_baseline_and_the_reports_of_a_database(
    candidate, baseline, tmp_path, capsys, monkeypatch
):
    from evalkit.failures.record import ClipEvidence, Evidence, FailureReport, Model, Source
    from evalkit.failures.store import open_store

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_DB", raising=False)
    clip_id = candidate.generations["clip_id"].dropna().iloc[2]
    store = open_store(f"sqlite:///{tmp_path}/failures.db")
    for category in ("temporal.flicker", "safety.likeness"):
        which = (
            clip_id if category == "temporal.flicker" else candidate.generations["clip_id"].dropna().iloc[4]
        )
        store.add(
            FailureReport(
                category=category,
                severity="S2",
                source=Source(kind="human", name="tester"),
                model=Model(name="candidate", version="1.0"),
                prompt="a prompt",
                evidence=Evidence(clip=ClipEvidence(clip_id=which)),
            ),
            actor="tester",
        )
    store.close()
    code = call(
        "gallery", str(candidate.folder), "--baseline", str(baseline.folder), "--failures",
        f"sqlite:///{tmp_path}/failures.db", "--out", str(tmp_path / "g"), "--json",
    )  # fmt: skip
    assert code == 0
    text = (tmp_path / "g" / "data" / "clips.js").read_text(encoding="ascii")
    assert '"id":"regressed"' in text
    assert '"id":"reported"' in text
    assert candidate.generations["clip_id"].dropna().iloc[4] not in text
    assert Path(json.loads(capsys.readouterr().out)["page"]).is_file()


def test_compare_writes_its_page_beside_its_tables(tmp_path: Path):
    values = np.random.default_rng(0).random((6, 2))
    for name in ("a", "b"):
        make_run(tmp_path / name, values={"quality": values}, model={"revision": name})
    code = call("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c"))
    assert code == 0
    page = (tmp_path / "c" / "index.html").read_text(encoding="utf-8")
    assert "no clear change" in page
    assert (tmp_path / "c" / "comparison.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "nowhere"), "does not exist"),
        (("gallery", "nowhere"), "does not exist"),
    ],
)
def test_a_wrong_folder_is_told_in_one_paragraph(arguments, words: str, capsys):
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_an_unknown_figure_format_is_refused_before_anything_is_written(
    candidate: Run, tmp_path: Path, capsys
):
    assert call("report", str(candidate.folder), "--figures", "bmp", "--out", str(tmp_path / "r")) == 2
    assert "svg, png, pdf" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
