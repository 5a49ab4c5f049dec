"""How far a model's samples of one prompt lie apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from evalkit.errors import NotApplicable
from evalkit.metrics.base import constructor_params, image_request
from evalkit.metrics.spec import MetricSpec, SetScore

if TYPE_CHECKING:
    import torch

    from evalkit.features.protocol import ClipFeatures, FeatureRequest

__all__ = ["Diversity"]


class Diversity:
    """Mean distance of a prompt's samples from each other. Needs no reference, but two samples a prompt.

    Args:
        network: image network; reports name it, and `compare` refuses to mix networks.
        checkpoint: a weights file of the user's own.
    """

    spec = MetricSpec(
        id="set.diversity",
        version="1",
        title="Seed diversity",
        description="Every seed of a prompt gives the same clip again.",
        direction="higher",
        range=(0.0, 2.0),
        formula=(
            "mean over prompts of the mean of 1 - cos(v[i], v[j]) over pairs of the prompt's samples; v = mean image "
            "features of a clip; interval: Student's t over prompts"
        ),
        invariant_to=("order of clips", "scale of the feature space"),
        limits=(
            "Failures differ from each other too: read it next to alignment. A prompt that leaves nothing open should "
            "give like clips. An ImageNet network sees kinds of things, hardly layout or motion."
        ),
        citation="Mean pairwise feature distance, as Zhu et al., BicycleGAN, NeurIPS 2017, measure it with LPIPS",
        default=False,
    )

    def __init__(self, network: str = "efficientnet-lite0", checkpoint: str | None = None) -> None:
        self.network, self.checkpoint = network, checkpoint

    @property
    def params(self) -> Mapping[str, str | int | float | bool | None]:
        """Constructor parameters; part of the score's key."""
        return constructor_params(self)

    def requires(self) -> tuple[FeatureRequest, ...]:
        """Frame features of the network."""
        return (image_request(self.network, self.checkpoint),)

    def vector(self, clip: ClipFeatures) -> torch.Tensor:
        """Mean frame feature, `(1, D)`."""
        return clip.tensor(self.requires()[0], "features").mean(0, keepdim=True)

    def score(self, generated: torch.Tensor, reference: torch.Tensor, *, seed: int) -> SetScore:
        """All of `generated` as samples of one prompt; the reference plays no part."""
        return self.score_prompts(generated, ["" for _ in generated])

    def per_prompt(
        self, rows: torch.Tensor, prompts: Sequence[Hashable]
    ) -> tuple[list[Hashable], list[float]]:
        """Diversity of every prompt that has at least two samples, in order of first appearance.

        Args:
            rows: `(n, D)`.
            prompts: the prompt of every row.
        """
        from evalkit.metrics.functional.kernels import mean_pairwise_distance

        members: dict[Hashable, list[int]] = {}
        for row, prompt in enumerate(prompts):
            members.setdefault(prompt, []).append(row)
        several = {prompt: places for prompt, places in members.items() if len(places) > 1}
        return list(several), [mean_pairwise_distance(rows[places]) for places in several.values()]

    def score_prompts(self, rows: torch.Tensor, prompts: Sequence[Hashable]) -> SetScore:
        """Mean over prompts, with an interval where there are several.

        Raises:
            NotApplicable: no prompt has two samples.
        """
        import torch
        from scipy.stats import t

        names, values = self.per_prompt(rows, prompts)
        if not values:
            raise NotApplicable(
                f"{self.spec.id} needs two samples of a prompt, and every prompt has one; generate with --samples 4"
            )
        each = torch.tensor(values, dtype=torch.float64)
        mean, interval = float(each.mean()), None
        if len(each) > 1:
            width = float(t.ppf(0.975, len(each) - 1) * each.std() / len(each) ** 0.5)
            interval = (mean - width, mean + width)
        protocol = f"diversity/{self._features()}/cosine/prompts={len(names)}/n={len(rows)}"
        return SetScore(mean, interval, None, protocol, len(rows), 0)

    def _features(self) -> str:
        from evalkit.features.registry import load_extractor

        spec = load_extractor(self.requires()[0]).spec
        return f"{spec.id}-v{spec.version}@{spec.weights_digest.partition(':')[2][:12]}/{spec.preprocessing}"
