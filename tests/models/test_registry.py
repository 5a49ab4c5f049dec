from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit._registry import PluginWarning, Registry
from evalkit.errors import EvalkitError, UnknownName
from evalkit.models import MODELS, VideoModel, load_model, model_names, registry
from evalkit.models.registry import parse_spec


@pytest.mark.parametrize(
    ("spec", "name", "params"),
    [
        ("reference", "reference", {}),
        ("reference@v1", "reference", {"revision": "v1"}),
        ("folder:path=clips/new set", "folder", {"path": "clips/new set"}),
        (
            "diffusers@main:pipeline=org/name,dtype=float16,batch_size=2,vae_tiling=true,fps=24000/1001",
            "diffusers",
            {
                "pipeline": "org/name",
                "dtype": "float16",
                "batch_size": 2,
                "vae_tiling": True,
                "fps": "24000/1001",
                "revision": "main",
            },
        ),
        (
            'command:command=["python", "a b.py", "{output}"],timeout_s=1.5',
            "command",
            {"command": ["python", "a b.py", "{output}"], "timeout_s": 1.5},
        ),
        (
            'command:command="run, please",files=["a","b"]',
            "command",
            {"command": "run, please", "files": ["a", "b"]},
        ),
        ("http:url=http://localhost:8080/v1", "http", {"url": "http://localhost:8080/v1"}),
    ],
)
def test_specs(spec: str, name: str, params: dict[str, object]) -> None:
    assert parse_spec(spec) == (name, params)


def test_a_file_is_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('model: http\nrevision: 7\nparams:\n  url: "http://x:1/a,b"\n  poll_s: 0.5\n')
    assert parse_spec(str(path)) == ("http", {"url": "http://x:1/a,b", "poll_s": 0.5, "revision": "7"})
    path = tmp_path / "mine.json"
    path.write_text('{"model": "reference"}')
    assert parse_spec(str(path)) == ("reference", {})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a", "has the keys `model`"),
        ("model: x\nparam: {}\n", "has the keys `model`"),
        ("model: x\nparams: [1]\n", "must be a mapping"),
        ("a: [", "not valid YAML"),
        ("\xff", "has the keys"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EvalkitError, match=said) as caught:
        load_model(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "is no spec"),
        ("my model", "is no spec"),
        ("folder:clips", "'clips' is no parameter; write NAME:key=value"),
        ("folder", "model 'folder' needs path; write folder:path=..."),
        ("folder:path=a,licens=MIT", "has no parameter 'licens'; did you mean 'licence'?"),
        ("http:url=ftp://x", "url must begin with http:// or https://"),
        ("diffusers:pipeline=x,dtype=float8", "dtype must be one of auto, float32, float16, bfloat16"),
        ("command:command=", "the command is empty"),
        ("missing.yaml", "cannot read the model file"),
    ],
)
def test_mistakes_say_what_to_write(spec: str, said: str) -> None:
    with pytest.raises(EvalkitError) as caught:
        load_model(spec)
    assert said in str(caught.value)


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(UnknownName, match="unknown model 'replya'; did you mean 'replay'"):
        load_model("replya:run=x")


def test_the_adapters_are_models_and_need_nothing_heavy_to_construct(tmp_path: Path) -> None:
    specs = (
        "folder:path=none",
        "replay:run=none",
        "command:command=none",
        "http:url=http://localhost:1",
        "diffusers:pipeline=none",
    )
    assert {spec.split(":")[0] for spec in specs} <= set(model_names())
    script = (
        "import sys\nfrom evalkit.models import load_model\n"
        f"for spec in {specs!r}: load_model(spec)\n"
        "print([m for m in ('torch', 'diffusers', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_constructing_does_no_work_but_identity_does() -> None:
    for spec, said in (
        ("folder:path=none", "no such folder"),
        ("replay:run=none", "is no run folder"),
        ("command:command=no-such-program-here", "no program 'no-such-program-here'"),
    ):
        model = load_model(spec)
        with pytest.raises(EvalkitError, match=said):
            _ = model.info


def plugin(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    entries = [importlib.metadata.EntryPoint(name, value, "evalkit.models") for name, value in points.items()]
    fresh = Registry("model", "evalkit.models", MODELS.table)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    monkeypatch.setattr(registry, "MODELS", fresh)
    monkeypatch.setattr("evalkit.models.MODELS", fresh)


def test_a_plugins_model_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, noise="tests.models.good:NoiseModel")
    model = load_model("noise@v9:amplitude=0.5")
    assert isinstance(model, VideoModel)
    assert (model.info.revision, model.info.config) == ("v9", {"amplitude": 0.5})


def test_a_broken_plugin_hurts_only_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, broken="tests.models.does_not_exist:Model", half="builtins:dict")
    assert load_model("folder:path=x")
    with pytest.raises(
        EvalkitError, match=r"comes from the plugin tests\.models\.does_not_exist:Model, whose import fails"
    ):
        load_model("broken")
    with pytest.raises(EvalkitError, match="lacks info, ignored_params, load, generate"):
        load_model("half")
    with pytest.warns(PluginWarning, match="repair or uninstall that package"):
        names = [name for name, _ in registry.MODELS.working()]
    assert "broken" not in names
    assert "folder" in names
