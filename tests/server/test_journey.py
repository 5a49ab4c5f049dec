"""The whole way of a failure, as people go it: gallery, report, board, duplicate, reproduction, case, gate, verified."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import main
from evalkit.engine.run import run_model
from evalkit.models import load_model
from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo, VideoModel
from evalkit.report.gallery import render_gallery
from evalkit.runs.store import Run
from evalkit.suites import Suite, load_suite
from evalkit.testing.defects import DEFECTS
from evalkit.video import Video
from reference_model.adapter import ReferenceModel
from tests.server.process import serving

pytestmark = pytest.mark.browser

# The first release of the reference model makes a ball flicker; the present one does not.
OLD, NEW = "reference@v1", "reference"
BALL = "object-ball"


class FlickeringModel(ReferenceModel):
    """The reference model, broken: what it makes is passed through a known defect."""

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, config={"defect": "flicker_gain"})

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        made = super().generate(requests)
        return [
            clip if isinstance(clip, GenerationFailure) else DEFECTS["flicker_gain"](clip, 1.0, seed=1).video
            for clip in made
        ]


def generate(suite: Suite, model: str | VideoModel, out: Path) -> Run:
    spec = model if isinstance(model, str) else "broken"
    command = ["evalkit", "run", "--model", spec, "--out", str(out)]
    loaded = load_model(model) if isinstance(model, str) else model
    return run_model(suite, loaded, out, metrics=["temporal.flicker"], workers=0, command=command)


def flicker(run: Run, prompt_id: str) -> float:
    return float(run.scores.set_index("prompt_id")["value"][prompt_id])


def mark_span(page: Any, first: int, last: int, frames: int) -> None:
    """Drag along the timeline."""
    area = page.locator(".frame-slider").bounding_box()
    middle = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + (first + 0.5) / frames * area["width"], middle)
    page.mouse.down()
    page.mouse.move(area["x"] + (last + 0.5) / frames * area["width"], middle, steps=6)
    page.mouse.up()


def draw_box(page: Any, x: float, y: float, w: float, h: float) -> None:
    """Drag across the picture."""
    area = page.locator(".marks").bounding_box()
    page.mouse.move(area["x"] + x * area["width"], area["y"] + y * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + (x + w) * area["width"], area["y"] + (y + h) * area["height"], steps=6)
    page.mouse.up()


def describe(page: Any, observed: str) -> None:
    page.select_option("#family", "temporal")
    page.select_option("#category", "temporal.flicker")
    page.check("input[name=severity][value=S2]")
    page.fill("[name=observed]", observed)


def gate(policy: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["gate", "--run", str(run), "--policy", str(policy)])
    return int(ended.value.code or 0), capsys.readouterr().err


def test_a_failure_from_the_gallery_to_verified(
    tmp_path: Path,
    open_page: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
):
    runs, cases = tmp_path / "runs", tmp_path / "regressions"
    suite = load_suite("core").select(ids=[BALL, "object-circle", "colour-red-square"])
    run = generate(suite, OLD, runs / "old")
    render_gallery(run)
    new = generate(suite.select(ids=[BALL]), NEW, runs / "new")
    limit = (flicker(run, BALL) * flicker(new, BALL)) ** 0.5
    assert flicker(new, BALL) < 0.8 * limit  # the two versions differ by more than their seeds do
    with serving(tmp_path, "--runs", "runs", "--model", OLD) as server:
        watched = open_page(f"{server.url}/login?token={server.token}")
        page = watched.page
        page.set_default_timeout(
            120_000
        )  # jobs load the model and its networks, on cores that others use too

        # From the gallery's clip to the form, prefilled.
        page.goto(f"{server.url}/runs/{run.manifest.run_id}")
        tile = page.locator(".tile", has_text=BALL)
        assert page.locator(".tile").first.inner_text() == tile.inner_text()  # the worst comes first
        page.get_by_role("link", name="Full gallery").click()
        page.locator("article.tile", has_text="a green ball").locator("button.open").first.click()
        page.locator("#detail[open]").wait_for()
        page.keyboard.press("x")
        page.goto(page.locator("#report-link").evaluate("link => link.href"))
        assert page.input_value("[name=model_name]") == "reference"
        seeds = run.generations.set_index("prompt_id")["seed"]
        assert page.input_value("[name=seed]") == str(seeds[BALL])

        # Span, box, words; a reload loses nothing.
        mark_span(page, 2, 14, 16)
        draw_box(page, 0.2, 0.25, 0.5, 0.4)
        describe(page, "the light goes on and off")
        assert (page.input_value("[name=first]"), page.input_value("[name=last]")) == ("2", "14")
        box = [float(page.input_value(f"[name=box_{name}]")) for name in "xywh"]
        assert box == pytest.approx([20, 25, 50, 40], abs=1.5)
        page.reload()
        assert page.input_value("[name=first]") == "2"
        assert page.input_value("[name=observed]") == "the light goes on and off"
        assert page.locator("input[name=severity][value=S2]").is_checked()
        assert page.locator(".spans div").count() == 1
        assert watched.axe() == []
        page.get_by_role("button", name="File the report").click()
        page.wait_for_url("**/reports/*")
        first_id = page.url.split("/reports/")[1][:26]
        assert page.locator(".marks rect").count() == 1
        assert page.locator("td", has_text="agrees").count() == 1
        assert watched.axe() == []
        assert (
            page.evaluate("Object.keys(localStorage).filter(k => k.startsWith('evalkit-draft')).length") == 0
        )

        # The same thing again: the first report is suggested before anything is sent.
        page.goto(f"{server.url}/runs/{run.manifest.run_id}")
        page.locator(".tile", has_text=BALL).get_by_role("link", name="File a report").click()
        describe(page, "it flickers")
        page.locator("#duplicates", has_text="same clip").wait_for()
        page.get_by_role("button", name="File the report").click()
        page.wait_for_url("**/reports/*")
        second_id = page.url.split("/reports/")[1][:26]
        page.goto(f"{server.url}/reports")
        assert page.locator('.column[data-status="new"] .ticket').count() == 2
        assert watched.axe() == []
        page.goto(f"{server.url}/reports/{second_id}")
        page.select_option("#triage-status", "duplicate")
        page.fill("[name=duplicate_of]", first_id)
        page.get_by_role("button", name="Save").click()
        page.locator(".facts-line", has_text=f"repeats {first_id}").wait_for()

        # Triage, reproduce, promote, fix.
        page.goto(f"{server.url}/reports/{first_id}")
        page.select_option("#triage-status", "triaged")
        page.get_by_role("button", name="Save").click()
        page.locator(".facts-line", has_text="triaged").wait_for()
        assert page.input_value("[name=model]") == OLD
        page.fill("[name=limit]", f"{limit:.4g}")
        page.get_by_role("button", name="Reproduce").click()
        page.locator('.job[data-state="done"], .job[data-state="failed"]').wait_for()
        assert page.locator(".job").get_attribute("data-state") == "done", page.locator(".job").inner_text()
        page.get_by_role("link", name="Load the report again").click()
        page.locator(".facts-line", has_text="confirmed").wait_for()
        assert re.search(
            "[123] of 3 seeds failed", page.locator(".panel", has_text="Confirm").first.inner_text()
        )
        page.get_by_role("button", name="Promote").click()
        page.locator(".facts-line", has_text="case").wait_for()
        page.select_option("#triage-status", "fixed")
        page.get_by_role("button", name="Save").click()
        page.locator(".facts-line", has_text="fixed").wait_for()
        (case,) = cases.glob("*.yaml")
        assert "state: fixed" in case.read_text(encoding="utf-8")

        # The gate holds the next versions to it.
        policy = tmp_path / "policy.yaml"
        policy.write_text(
            json.dumps(
                {
                    "schema": "evalkit.gate/v1",
                    "checks": [{"id": "confirmed-failures", "kind": "cases", "suite": "regressions"}],
                }
            ),
            encoding="utf-8",
        )
        again = load_suite(cases)
        generate(again, FlickeringModel(), runs / "broken")
        code, said = gate(policy, runs / "broken", capsys)
        assert code == 1, said
        assert case.stem in said.replace("\n", "").replace(" ", "")
        generate(again, NEW, runs / "mended")
        code, said = gate(policy, runs / "mended", capsys)
        assert code == 0, said

        # And the report follows.
        page.goto(f"{server.url}/reports")
        page.get_by_label("Run over the regression cases").select_option(
            label=f"mended · reference {new.manifest.model.revision}"
        )
        page.get_by_role("button", name="Verify or reopen").click()
        page.locator("td", has_text="verified").wait_for()
        page.goto(f"{server.url}/reports/{first_id}")
        assert "verified" in page.locator(".facts-line").inner_text()
        page.goto(f"{server.url}/reports")
        assert page.locator('.column[data-status="verified"] .ticket').count() == 1
        page.get_by_label("Run over the regression cases").select_option(
            label=f"broken · reference {new.manifest.model.revision}"
        )
        page.get_by_role("button", name="Verify or reopen").click()
        page.locator("td", has_text="regressed").wait_for()
        watched.assert_clean()
