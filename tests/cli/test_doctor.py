from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from evalkit.cli import main
from evalkit.cli.doctor import Diagnosis, diagnose
from evalkit.metrics.registry import metric_ids


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return diagnose()


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(["doctor", *arguments])
    assert done.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_versions_are_those_of_the_installed_packages(found: Diagnosis) -> None:
    assert found.versions["torch"] == importlib.metadata.version("torch")
    assert found.versions["av"] == importlib.metadata.version("av")
    assert found.decoder.startswith(f"pyav-{found.versions['av']}")


def test_every_metric_is_ready_or_says_why_not(found: Diagnosis) -> None:
    assert {metric.id for metric in found.metrics} == set(metric_ids())
    assert all((metric.status == "ready") == (metric.reason == "") for metric in found.metrics)


def test_the_json_is_the_diagnosis(found: Diagnosis, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = json.loads(doctor(capsys, "--json"))
    assert parsed["versions"] == found.versions
    assert parsed["torchvision"] in ("fits", "cured", "missing")
    assert {one["name"] for one in parsed["weights"]} == {one.name for one in found.weights}
    assert parsed["disks"][0]["free_bytes"] > 0


def test_weights_that_appear_are_found_and_wrong_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.weights import KNOWN_WEIGHTS

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("EVALKIT_WEIGHTS", str(tmp_path))
    missing = {one.name: one for one in diagnose().weights}["raft_small"]
    assert missing.state == "missing"
    assert "get_weight" in missing.command
    (tmp_path / KNOWN_WEIGHTS["raft_small"].filename).write_bytes(b"something else")
    assert {one.name: one for one in diagnose().weights}["raft_small"].state == "wrong"


def test_a_missing_extra_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    text = doctor(capsys)
    assert "missing  ray" in text
    assert "lacks ray>=2.40: pip install 'evalkit[ray]'" in text
    assert "pip download" in doctor(capsys, "--offline")


def test_a_full_disk_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    usage = type(shutil.disk_usage("/"))(100 * 2**30, 99 * 2**30, 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert "Problem: only 1.0 GiB are free" in doctor(capsys)
