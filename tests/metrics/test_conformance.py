"""Every built-in metric passes the suite that plugins run."""

from __future__ import annotations

import pytest

from evalkit.metrics.base import BaseMetric
from evalkit.metrics.registry import METRICS, load_metric
from evalkit.metrics.spec import ClipScore, MetricSpec
from evalkit.suites import Prompt
from evalkit.testing.metrics import check_metric, sample_clips

PROMPT = Prompt(id="p", text="a red ball on a lawn", category="c", expect={"camera": "pan_left", "shots": 1})
# What needs weights that do not come with an installation, original bytes, the reference world, 16 frames, or a suite
# of more than five prompts: each has its own tests.
ABSENT = {"alignment.clip", "alignment.video_text", "visual.quality", "visual.aesthetic"}
PEERS = ("vbench.", "evalcrafter.", "compbench.")
ELSEWHERE = ("provenance.", "safety.", "alignment.world", "alignment.retrieval_top5", "temporal.jerk")
NETWORKS = {
    *("alignment.conse", "alignment.retrieval", "set.frechet"),
    *(f"temporal.{name}" for name in ("subject_consistency", "background_consistency", "clip_consistency")),
    *("temporal.long_drift", "alignment.retrieval_top1", "alignment.retrieval_margin"),
}
DETECTED = {
    f"alignment.{name}"
    for name in (
        "attributes",
        "object",
        "colour",
        "count",
        "size",
        "motion",
        "relation",
        "style",
        "temporal_order",
    )
}
LIGHT = [
    name
    for name in METRICS.table
    if not name.startswith(ELSEWHERE) and name not in NETWORKS | DETECTED and not name.startswith("set.")
]


@pytest.mark.parametrize("name", LIGHT)
def test_metric_honours_the_contract(name):
    report = check_metric(
        lambda: load_metric(name),
        sample_clips(12, 48),
        prompt=PROMPT,
        may_be_skipped=name in ABSENT or name.startswith(PEERS),
    )
    assert report.spec.id == name


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_metric_on_embedded_networks_honours_the_contract(name):
    check_metric(lambda: load_metric(name), sample_clips(12, 48)[:2], prompt=PROMPT)


def made(**changes):
    facts = {
        "id": "my.metric",
        "version": "1",
        "title": "t",
        "description": "d",
        "direction": "lower",
        "formula": "f",
        "range": (0.0, 1.0),
    } | changes.pop("spec", {})

    class Made(BaseMetric):
        spec = MetricSpec(**facts)

        def score(self, clip):
            return changes.get("score", lambda _: ClipScore(0.5))(clip)

    return Made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": {"formula": ""}}, "formula is empty"),
        ({"spec": {"id": "mine"}}, "no group"),
        ({"score": lambda _: ClipScore(1.5)}, "outside its range"),
        ({"score": lambda _: ClipScore(float("nan"))}, "not finite"),
        ({"score": lambda _: ClipScore(0.5, [0.1])}, "does not announce"),
        ({"spec": {"series": "frame"}, "score": lambda _: ClipScore(0.5, [0.1])}, "a series of"),
        ({"spec": {"range": (1.0, 0.0)}}, "is empty"),
        ({"score": lambda _: 1 / 0}, "ZeroDivisionError"),
    ],
)
def test_broken_metrics_are_found(changes, words):
    with pytest.raises(AssertionError, match=words):
        check_metric(made(**changes), sample_clips(4, 32)[:2])


def test_a_metric_that_draws_from_the_global_generator_is_found():
    def draw(_):
        import random

        random.random()
        return ClipScore(0.5)

    with pytest.raises(AssertionError, match="global random number generator"):
        check_metric(made(score=draw), sample_clips(4, 32)[:2])
