"""`evalkit metrics`: what people and machines read about metrics, and pages that agree with the code."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from evalkit.cli.metrics import metrics_app
from evalkit.failures.taxonomy import load_taxonomy
from evalkit.metrics.cards import card, why_no_figure
from evalkit.metrics.registry import METRICS, metric_ids, metric_specs

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "metrics"


def run(*arguments):
    result = CliRunner().invoke(metrics_app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_for_machines_is_the_cards():
    listed = json.loads(run("list", "--json"))
    assert [item["id"] for item in listed] == list(metric_ids())
    assert {item["id"] for item in json.loads(run("list", "--default", "--json"))} == set(
        metric_ids(default_only=True)
    )


def test_show_explains_definition_parameters_and_limits():
    text = run("show", "temporal.cuts")
    for part in ("## Definition", "`detector` (default `analytic`)", "## Limits", "TransNet"):
        assert part in text
    shown = json.loads(run("show", "set.fvd", "--json"))
    assert shown["parameters"]["network"] == "world"


def test_cards_write_a_page_per_metric_with_its_figure(tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "temporal.flicker.svg").write_text("<svg/>")
    run("cards", "--out", str(tmp_path / "pages"), "--figures", str(figures))
    assert {path.stem for path in (tmp_path / "pages").iterdir()} == {"index", *metric_ids()}
    assert "](../figures/temporal.flicker.svg)" in (tmp_path / "pages" / "temporal.flicker.md").read_text()


def test_a_page_without_a_figure_says_why():
    assert "`clip:ViT-L-14` and `laion-aesthetic-vit-l-14`" in why_no_figure("visual.aesthetic")
    assert "`dino_vitb16`" in why_no_figure("vbench.subject_consistency")
    assert "EvalCrafter's own program" in why_no_figure("evalcrafter.IS")
    assert "no defect" in why_no_figure("cost.peak_memory")
    for name in metric_ids():
        page = (PAGES / f"{name}.md").read_text()
        assert "\n![" in page or f"No figure: {why_no_figure(name)}" in page, f"{name} has neither"
        assert "does not cover it" not in page, f"{name} has no figure, and no reason"


def test_committed_pages_say_what_the_code_says():
    for name, metric in METRICS.working():
        page = PAGES / f"{name}.md"
        assert page.is_file(), f"no page for {name}; run: evalkit metrics cards --out docs/reference/metrics"
        text = "\n".join(line for line in page.read_text().splitlines() if not line.startswith("!["))
        for line in card(name, metric).splitlines():
            assert line in text, (
                f"{page.name} is out of date; run: evalkit metrics cards --out docs/reference/metrics"
            )


def test_every_card_points_at_a_failure_class_that_exists():
    leaves = set(load_taxonomy().ids)
    assert {spec.leaf for spec in metric_specs().values() if spec.leaf} <= leaves
