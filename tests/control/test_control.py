"""Controls of toy models that obey, ignore or contradict them, found by the command that runs on any model."""

from __future__ import annotations

import json
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch

from benchmarks.control import __main__ as command
from benchmarks.control.definition import SHIPPED, load_definition
from evalkit.errors import EvalkitError
from evalkit.models.protocol import GenerationFailure, ModelInfo
from evalkit.models.registry import MODELS
from evalkit.video import Video

DEFAULTS = {"num_frames": 3, "height": 16, "width": 16, "fps": "8"}


class Obedient:
    """Noise of the seed around a level that guidance, weights and the negative prompt move."""

    sign, jitter = 1, 0

    def __init__(self):
        self.calls = 0

    ignored_params = frozenset()
    info = ModelInfo("obedient", "1", defaults=DEFAULTS)

    def load(self, device):
        pass

    def generate(self, requests):
        return [self.clip(request) for request in requests]

    def clip(self, request):
        if "broken" in request.prompt:
            return GenerationFailure("out of ideas")
        level = 40 + self.sign * 20 * float(request.params.get("guidance_scale", 1))
        level -= 15 * self.sign * bool(request.negative_prompt)
        if ":" in request.prompt:
            level += 20 * self.sign * float(request.prompt.split(":")[1].split(")")[0])
        generator = torch.Generator().manual_seed(request.seed + type(self).jitter)
        type(self).jitter += 0 if self.sign > 0 else 1
        noise = torch.randint(0, 9, (3, 1, 1), generator=generator).float() + len(request.prompt) % 2
        frames = (noise + level).clamp(0, 255).to(torch.uint8).expand(request.num_frames, 3, 16, 16)
        return Video(frames.contiguous(), Fraction(request.fps))


class Contrary(Obedient):
    """Does the opposite, and never the same twice."""

    sign, jitter = -1, 0
    info = ModelInfo("contrary", "1", defaults=DEFAULTS)


class Deaf(Obedient):
    """Ignores guidance."""

    ignored_params = frozenset({"guidance_scale"})
    info = ModelInfo("deaf", "1", defaults=DEFAULTS)


class Brightness:
    """An encoder that sees how bright a clip is and reads every text as `bright`."""

    pair = SimpleNamespace(video="video")
    digest = "sha256:0123456789abcdef"

    def __init__(self, encoder):
        assert encoder == "world"

    def vectors(self, run):
        from evalkit.video import decode

        return {
            (row.prompt_id, row.sample_index): SimpleNamespace(
                problems={}, colour=decode(run.path_of(row.path)).frames.float().mean((0, 2, 3))
            )
            for row in run.generations.query("status == 'ok'").itertuples()
        }

    def embedding(self, clip):
        return clip.colour

    def similarity(self, clip, text):
        return float(clip.colour.mean()) * (0.5 if "dark" in text else 1.0)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    table = {name: f"{__name__}:{name.title()}" for name in ("obedient", "contrary", "deaf")}
    monkeypatch.setattr(MODELS, "table", {**MODELS.table, **table})
    monkeypatch.setattr(command, "Sight", Brightness)
    Contrary.jitter = 0


DEFINITION = """
encoder: world
studies:
  same: {title: T, question: Q, measure: identical, prompts: &p {a: {text: one}, b: {text: two}, c: {text: three}, d: {text: fourth}}, arms: {x: {}, y: {}}}
  guidance:
    {title: T, question: Q, measure: trend, values: [alignment, visual.exposure], expected: up, parameter: guidance_scale, prompts: *p,
     arms: {low: {set: {guidance_scale: 1}}, high: {set: {guidance_scale: 2}}}}
  weight:
    {title: T, question: Q, measure: trend, values: [contrast], expected: up,
     prompts: {a: &w {text: "({word}:{weight})", away: dark, word: red}, b: *w, c: *w},
     arms: {low: {fill: {weight: 0.5}}, high: {fill: {weight: 1.5}}}}
  negative:
    {title: T, question: Q, measure: change, values: [alignment], expected: down,
     prompts: {a: &n {text: one, not: x}, b: *n, c: *n, lost: {text: broken, not: x}}, arms: {without: {}, with: {negative: not}}}
  seeds: {title: T, question: Q, measure: spread, expected: up, samples: 3, prompts: *p, arms: {x: {}}}
  words:
    {title: T, question: Q, measure: ratio, expected: down, samples: 3,
     prompts: {a: &r {text: one, other: ones}, b: *r, c: *r}, arms: {plain: {}, other: {text: other}}}
"""


def study(tmp_path, model, *options):
    definition = tmp_path / "mine.yaml"
    definition.write_text(DEFINITION)
    out = tmp_path / model
    code = command.main(["--model", model, "--definition", str(definition), "--out", str(out), *options])
    found = json.loads((out / "results.json").read_text())["outcomes"]
    return code, {(row["study"], row["value"]): row for row in found}, out


def test_results_say_which_weights_and_keep_other_weights_apart(tmp_path, monkeypatch):
    def digests():
        _, _, out = study(tmp_path, "obedient", "--only", "same", "--limit", "3")
        about = json.loads((out / "results.json").read_text())["about"]
        page = (out / "index.md").read_text()
        assert f"the model's weights `{about['digest']}`" in page
        assert "the encoder's `sha256:0123456789ab" in page
        return about["digest"], {path.name for path in (out / "runs").iterdir()}

    first, folders = digests()
    assert folders == {first}
    monkeypatch.setattr(
        Obedient, "info", ModelInfo("obedient", "1", weights={"net": "sha256:ff"}, defaults=DEFAULTS)
    )
    second, folders = digests()
    assert first != second
    assert folders == {first, second}


def test_a_model_that_obeys_is_found_to_obey(tmp_path):
    code, found, out = study(tmp_path, "obedient")
    assert code == 0
    verdicts = {key: row["verdict"] for key, row in found.items()}
    assert verdicts.pop(("guidance", "visual.exposure")) == "not shown"
    assert set(verdicts.values()) == {"as expected"}
    assert found["guidance", "alignment"]["estimate"] == pytest.approx(1)
    assert found["guidance", "alignment"]["arms"]["high"] - found["guidance", "alignment"]["arms"][
        "low"
    ] == pytest.approx(20, abs=1e-3)
    assert found["negative", "alignment"]["estimate"] == pytest.approx(-15)
    assert (found["negative", "alignment"]["prompts"], found["negative", "alignment"]["lost"]) == (3, 2)
    assert found["weight", "contrast"]["arms"]["high"] - found["weight", "contrast"]["arms"][
        "low"
    ] == pytest.approx(10, abs=1e-3)
    assert 0 < found["words", "embedding distance"]["high"] < 1
    assert "| guidance | alignment, mean Spearman over prompts | 1 |" in (out / "index.md").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    study(tmp_path, "obedient")
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}


def test_a_model_that_contradicts_its_controls_fails_the_command(tmp_path):
    code, found, _ = study(tmp_path, "contrary", "--only", "same", "guidance", "negative")
    assert code == 1
    assert found["same", "identical clips"]["estimate"] < 1
    assert {row["verdict"] for key, row in found.items() if key[1] != "visual.exposure"} == {"contrary"}


def test_an_ignored_parameter_is_not_judged_and_too_few_prompts_neither(tmp_path):
    code, found, _ = study(tmp_path, "deaf", "--only", "guidance", "seeds", "--limit", "2")
    assert code == 0
    assert found["guidance", ""]["status"] == "not_applicable"
    assert "guidance_scale" in found["guidance", ""]["reason"]
    assert found["seeds", "embedding distance"]["status"] == "failed"
    assert "only 2 prompts" in found["seeds", "embedding distance"]["reason"]


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_definitions_ask_what_they_promise(name):
    definition = load_definition(name)
    promised = {"repeatability", "guidance_response", "prompt_weight_response", "negative_prompt"}
    assert set(definition.studies) == promised | {
        "seed_diversity",
        "paraphrase_sensitivity",
        "long_clip_drift",
    }
    from evalkit.metrics.registry import METRICS

    for title, asked in definition.studies.items():
        for arm in asked.arms.values():
            suite = asked.suite_of(title, arm, 4)
            assert len(suite) >= 4
            assert not any("{" in prompt.text for prompt in suite)
        assert {value for value in asked.values if "." in value} <= set(METRICS.table)


def test_prompts_of_the_world_are_in_its_words():
    from reference_model.text import world_words

    known = set(world_words())
    for title, asked in load_definition("world").studies.items():
        for fields in asked.prompts.values():
            for key in fields.keys() - {"word"}:
                words = fields[key].replace("({word}:{weight})", fields.get("word", "")).split()
                assert set(words) <= known, (title, set(words) - known)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("encoder: other\nstudies: {}", "encoder"),
        (DEFINITION.replace("measure: spread, ", "measure: spread, values: [a], "), "takes no `values`"),
        (DEFINITION.replace("arms: {x: {}, y: {}}", "arms: {x: {}}"), "at least 2 arms"),
        (DEFINITION.replace("negative: not", "negative: missing"), "no field 'missing'"),
        ("studies: [", "mine.yaml"),
    ],
)
def test_wrong_definitions_say_where(tmp_path, text, words, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    options = ["--model", "obedient", "--definition", str(path), "--out", str(tmp_path / "o"), "--only"]
    try:
        code = command.main([*options, "negative"])
    except EvalkitError as error:
        pytest.fail(f"not handled: {error}")
    assert code == 2
    assert words in capsys.readouterr().err
