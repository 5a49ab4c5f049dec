from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalkit.cli.models import models_app
from evalkit.errors import EvalkitError, UnknownName
from tests.models.test_folder import clip, store
from tests.models.test_registry import plugin


def call(*arguments: str, code: int = 0):
    result = CliRunner().invoke(models_app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_list_names_every_model_and_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, noise="tests.models.good:NoiseModel")
    lines = call("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "command",
        "diffusers",
        "folder",
        "http",
        "replay",
        "noise",
    ]
    assert lines[2].endswith("(needs path)")
    assert lines[5].split(maxsplit=1)[1] == "Noise from the request's seed; at least 8x8 pixels."
    cards = json.loads(call("list", "--json").stdout)
    assert {"name": "path", "required": True, "default": None} in cards[2]["parameters"]


def test_a_broken_plugin_is_named_on_stderr_and_the_rest_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, broken="tests.models.nowhere:Model")
    result = call("list", "--json")
    assert "warning: model 'broken' comes from the plugin tests.models.nowhere:Model" in result.stderr
    assert len(json.loads(result.stdout)) == 5


def test_show_gives_parameters_and_identity(tmp_path: Path) -> None:
    text = call("show", "folder").stdout
    assert "path                   required" in text
    assert "Give path to see its identity: evalkit models show folder:path=..." in text
    store(tmp_path, ball=clip(1))
    card = json.loads(call("show", f"folder@v3:path={tmp_path}", "--json").stdout)
    assert card["info"]["revision"] == "v3"
    assert card["info"]["weights"]["clips"].startswith("blake2b:")
    assert "own_shape              True" in call("show", f"folder:path={tmp_path}").stdout


def test_mistakes_are_errors_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'folder'"):
        call("show", "foldr")
    with pytest.raises(EvalkitError, match="no such folder"):
        call("show", f"folder:path={tmp_path / 'none'}")
    for command in ("list", "show"):
        assert f"evalkit models {command}" in call(command, "--help").stdout
