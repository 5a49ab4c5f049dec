"""The reference model and the rendered truth as models of evalkit (entry-point group `evalkit.models`)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo

if TYPE_CHECKING:
    from evalkit.video import Video
    from reference_model.pipeline import ReferenceVideoPipeline

DEFAULTS = {"num_frames": 16, "height": 64, "width": 64, "fps": "8"}
SETTINGS = frozenset(
    {
        "guidance_scale", "num_inference_steps", "camera", "style", "refine", "refiner_strength", "refiner_prompt",
        "refiner_steps", "refiner_guidance_scale", "tracks_steps",
    }
)  # fmt: skip
"""Request parameters that the pipeline takes; a request's own value wins over the model's."""


class ReferenceModel:
    """The two-stage reference text-to-video diffusion model.

    Args:
        revision: released version of the weights, `v1` or `v2`.
        weights: folder of another checkpoint of the same layout, instead of a released version.
        settings: defaults for any of `guidance_scale`, `num_inference_steps`, `refine`, `refiner_strength`,
            `refiner_steps`, `refiner_guidance_scale`, `tracks_steps`, `camera`, `style`, `refiner_prompt`.
    """

    def __init__(self, *, revision: str = "v2", weights: str | None = None, **settings: Any) -> None:
        unknown = sorted(settings.keys() - SETTINGS)
        if unknown:
            raise ValueError(
                f"reference has no setting {unknown[0]!r}; settings: {', '.join(sorted(SETTINGS))}"
            )
        self.revision, self.weights, self.settings = revision, weights, settings
        self._ignored: set[str] = set()
        self._pipeline: ReferenceVideoPipeline | None = None

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: version, digests of every file, settings."""
        from reference_model.release import digests, manifest

        files = digests(Path(self.weights)) if self.weights else manifest(self.revision)
        return ModelInfo(
            id="reference",
            revision=self.revision,
            weights={name: f"sha256:{value}" for name, value in files.items()},
            config=dict(self.settings),
            licence="Apache-2.0",
            description="Two-stage text-to-video diffusion (tracks and painter, then refiner) on a procedural world.",
            batch_size=8,
            defaults=DEFAULTS,
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """Request parameters that no setting of the pipeline corresponds to."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Loads the pipeline after checking its digests."""
        from reference_model.pipeline.release import load_pipeline

        self._pipeline = load_pipeline(self.weights or self.revision, device)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """One clip for each request; requests of one shape and setting are made together."""
        if self._pipeline is None:
            self.load("cpu")
        results: list[Video | GenerationFailure | None] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, request in enumerate(requests):
            self._ignored |= set(request.params) - SETTINGS
            own = {name: value for name, value in request.params.items() if name in SETTINGS}
            settings = tuple(sorted({**self.settings, **own}.items()))
            groups.setdefault((request.num_frames, request.height, request.width, repr(settings)), []).append(
                place
            )
        for places in groups.values():
            made = self._make([requests[place] for place in places])
            for place, result in zip(places, made, strict=True):
                results[place] = result
        return results  # type: ignore[return-value]

    def _make(self, requests: list[GenerationRequest]) -> list[Video | GenerationFailure]:
        from evalkit.video import Video

        first = requests[0]
        own = {name: value for name, value in first.params.items() if name in SETTINGS}
        assert self._pipeline is not None
        try:
            made = self._pipeline(
                [request.prompt for request in requests],
                negative_prompt=[request.negative_prompt for request in requests],
                num_frames=first.num_frames,
                height=first.height,
                width=first.width,
                seed=[request.seed for request in requests],
                **{**self.settings, **own},
            )
        except (TypeError, ValueError) as error:
            return [GenerationFailure(f"reference@{self.revision}: {error}") for _ in requests]
        return [Video(frames, request.fps) for frames, request in zip(made.frames, requests, strict=True)]


class WorldModel:
    """The rendered truth: a perfect generator for prompts in the world's words.

    Reads the prompt with an exact parser; where the text is outside its grammar, the prompt's `expect`. What neither
    states is drawn from the seed.
    """

    def __init__(self, *, revision: str | None = None) -> None:
        self.revision = revision
        self._ignored: set[str] = set()

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: the digest of the world's code, since there are no weights."""
        folder = Path(__file__).parent / "world"
        code = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
        digest = hashlib.sha256(code).hexdigest()
        return ModelInfo(
            id="world",
            revision=self.revision or digest[:12],
            weights={"world/*.py": f"sha256:{digest}"},
            licence="Apache-2.0",
            description="Rendered truth of the reference world; the perfect generator.",
            batch_size=8,
            defaults=DEFAULTS,
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """Everything but camera and style."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Nothing to load."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Renders each request; a prompt outside the world is a failure that says which word or combination."""
        return [self._render(request) for request in requests]

    def _render(self, request: GenerationRequest) -> Video | GenerationFailure:
        from evalkit.video import Video
        from reference_model.world import render_scenes
        from reference_model.world.parse import OutsideWorldError, expectations, scene_of

        self._ignored |= set(request.params) - {"camera", "style"}
        if min(request.num_frames, request.height, request.width) < 1:
            return GenerationFailure(
                f"world: no clip has the shape {request.num_frames}x{request.height}x{request.width}"
            )
        try:
            try:
                stated = expectations(request.prompt)
            except OutsideWorldError:
                if "object" not in request.expect:
                    raise
                stated = dict(request.expect)
            stated |= {name: request.params[name] for name in ("camera", "style") if request.params.get(name)}
            key = f"{request.seed}\n{request.prompt}"
            rng = random.Random(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big"))
            scene = scene_of(stated, rng, request.width / request.height)
            frames = render_scenes([scene], request.num_frames, request.height, request.width)[0]
        except (OutsideWorldError, KeyError) as error:
            return GenerationFailure(f"world: {error}")
        return Video(frames, request.fps)
