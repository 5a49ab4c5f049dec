"""Do the metrics of the prompt fall when clips are judged by prompts that promise something else?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.validity.scoring import auc
from evalkit.features.compute import FeaturePlan, score_clip
from evalkit.features.protocol import ClipRecord
from evalkit.metrics.attributes import Attributes
from evalkit.metrics.registry import load_metric
from evalkit.suites import Prompt
from evalkit.testing.defects import STRENGTHS
from evalkit.video import Video

__all__ = ["PROMPT_METRICS", "PromptResponse", "other_prompt", "prompt_responses"]

PROMPT_METRICS = (
    "alignment.attributes",
    "alignment.camera",
    "alignment.colour",
    "alignment.conse",
    "alignment.count",
    "alignment.motion",
    "alignment.object",
    "alignment.relation",
    *(
        f"alignment.{name}{encoder}"
        for name in ("retrieval", "retrieval_margin", "retrieval_top1", "retrieval_top5")
        # The default knows photographs, the reference world's own encoder knows flat shapes.
        for encoder in ("", ":encoder=world")
    ),
    "alignment.size",
    "alignment.style",
    "alignment.temporal_order",
    "alignment.world",
)
_RESAMPLES = 1000
_FEWEST = 4


@dataclass(frozen=True)
class PromptResponse:
    """What one metric says of clips when more and more of them are judged by another clip's prompt.

    Args:
        metric: its id, and its parameters where they are not the default ones.
        values: mean over the clips at strength 0 and at each of `STRENGTHS`, the share of clips with another prompt.
        monotone: Spearman of strength and values, positive when the metric gets worse.
        auc: chance that a clip scores better by its own prompt than another clip by a wrong one; ties count half.
        interval: 95% of `auc`, clips resampled.
        clips: that could be scored by both prompts.
    """

    metric: str
    values: tuple[float, ...]
    monotone: float
    auc: float
    interval: tuple[float, float]
    clips: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self.__dict__ | {"values": list(self.values), "interval": list(self.interval)}


def other_prompt(prompts: Sequence[Prompt], place: int, attributes: Sequence[str]) -> Prompt | None:
    """The next prompt in the list that promises the same kind of thing, and not the same thing; None if there is none.

    Args:
        prompts: to choose from.
        place: of the prompt for which another is wanted.
        attributes: of `expect` that both must have and in which all differ; none of them: any other text will do.

    Example:
        >>> from evalkit.suites import Prompt
        >>> said = [("a red ball", "red"), ("a big red ball", "red"), ("a blue ball", "blue")]
        >>> prompts = [Prompt(id=text, text=text, category="c", expect={"colour": c}) for text, c in said]
        >>> other_prompt(prompts, 0, ("colour",)).text, other_prompt(prompts, 0, ("size",))
        ('a blue ball', None)
    """
    mine = prompts[place]
    promised = [name for name in attributes if name in mine.expect]
    if attributes and not promised:
        return None
    for other in (*prompts[place + 1 :], *prompts[:place]):
        differ = all(name in other.expect and other.expect[name] != mine.expect[name] for name in promised)
        if differ and other.text != mine.text:
            return other
    return None


def prompt_responses(
    prompts: Sequence[Prompt], clips: Mapping[str, Video], metrics: Sequence[str] = PROMPT_METRICS
) -> Iterator[PromptResponse]:
    """Score every clip by its own prompt and by another one, and mix the two at every strength.

    Args:
        prompts: of the clips, and the candidates of retrieval.
        clips: by prompt id; each shows what its prompt says.
        metrics: prompt metrics to measure, as `load_metric` takes them.
    """
    loaded = {name: load_metric(name) for name in metrics}
    plan = FeaturePlan(loaded.values())
    texts = plan.text_features([prompt.text for prompt in prompts])
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in metrics}
    for place, prompt in enumerate(prompts):
        video = clips[prompt.id]
        shown = plan.clip_features(video, _record(video, prompt), texts)
        for name, metric in zip(loaded, plan.clip_metrics, strict=True):
            attributes = metric.attributes if isinstance(metric, Attributes) else ()
            other = other_prompt(prompts, place, attributes)
            own = score_clip(metric, shown)
            if other is None or own.value is None:
                continue
            # What the clip shows is known; only what is said of it differs.
            judged = plan.begin(_record(video, other), texts)
            judged.features = {**shown.features, **judged.features}
            wrong = score_clip(metric, judged.done())
            if wrong.value is not None:
                pairs[name].append((own.value, wrong.value))
    for name, found in pairs.items():
        if len(found) >= _FEWEST:
            yield _respond(name, 1 if loaded[name].spec.direction == "higher" else -1, np.array(found))


def _record(video: Video, prompt: Prompt) -> ClipRecord:
    return ClipRecord(prompt, video.num_frames, *video.frames.shape[-2:], video.fps)


def _respond(name: str, sign: int, pairs: np.ndarray) -> PromptResponse:
    rng = np.random.default_rng(0)
    # Which clips are judged wrongly first must not hang on the order of the suite, which goes by category.
    pairs = rng.permutation(pairs)
    own, wrong = pairs.T
    counts = [round(strength * len(pairs)) for strength in (0, *STRENGTHS)]
    values = [float(np.concatenate([wrong[:count], own[count:]]).mean()) for count in counts]
    flat = max(values) == min(values)
    drawn = []
    for _ in range(_RESAMPLES):
        index = rng.integers(0, len(pairs), len(pairs))
        drawn.append(auc(list(sign * wrong[index]), list(sign * own[index])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return PromptResponse(
        name,
        tuple(values),
        0.0 if flat else float(-sign * spearmanr([0, *STRENGTHS], values).statistic),
        auc(list(sign * wrong), list(sign * own)),
        (float(low), float(high)),
        len(pairs),
    )
