"""The text-to-video pipeline: prompt -> tracks -> small clip (base) -> full-size clip (refiner)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from diffusers import DiffusionPipeline, EDMEulerScheduler
from diffusers.utils import BaseOutput
from torch import Tensor

from reference_model.diffusion import clip_noise, denormals_flushed
from reference_model.layout import Layout, draw_layout
from reference_model.pipeline.modules import PainterModel, RefinerModel, TextModel, TracksModel
from reference_model.pipeline.windows import blended
from reference_model.strength import DRAFT_HIGH, draft_sigma, enlarge
from reference_model.tracks import FEATURES, resample
from reference_model.world.attributes import CAMERAS, STYLES
from reference_model.world.render import SLOTS

MULTIPLE = 8
SIZES = (32, 256)
NEGATED_ABOVE = 5.0
"""A negative prompt is heard on the painter's noise levels above this, where patterns are settled."""


@dataclass
class ReferenceVideoOutput(BaseOutput):  # type: ignore[misc]
    """Clips uint8 (T, 3, H, W), one for each prompt; the base's small clips; the tracks that they follow."""

    frames: list[Tensor]
    base_frames: list[Tensor]
    tracks: Tensor
    camera: Tensor
    fps: Fraction


class ReferenceVideoPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Two-stage text-to-video diffusion for the reference world.

    The base is a cascade: `tracks` plans where objects and camera are, `base` paints small frames over that plan. The
    `refiner` noises the enlarged base clip and refines it at full size, steered by its own prompt.

    Three settings of sampling belong to a version as its weights do. `shared_noise`: the share of the noise that all frames
    of a clip have in common; with 1 frames agree on what the prompt leaves open. `guided_above`: the painter's noise level
    above which guidance acts (Kynkaanniemi et al., "Limited Interval", arXiv:2404.07724): what a clip shows is settled
    there, and below guidance only exaggerates outlines and colours. What a negative prompt names may be settled later, so
    where there is one guidance acts down to `NEGATED_ABOVE`. `draft_high`: the noise that `refiner_strength=1` puts on the
    base clip; with much of it another style can be had, and with too much the clip is lost.
    """

    model_cpu_offload_seq = "text_encoder->tracks->base->refiner"
    _optional_components = ["refiner"]  # noqa: RUF012 - diffusers reads this attribute

    def __init__(
        self,
        text_encoder: TextModel,
        tracks: TracksModel,
        base: PainterModel,
        refiner: RefinerModel | None,
        tracks_scheduler: EDMEulerScheduler,
        base_scheduler: EDMEulerScheduler,
        refiner_scheduler: EDMEulerScheduler,
        shared_noise: float = 0.5,
        guided_above: float = 0.0,
        draft_high: float = DRAFT_HIGH,
    ) -> None:
        super().__init__()
        self.register_modules(
            text_encoder=text_encoder,
            tracks=tracks,
            base=base,
            refiner=refiner,
            tracks_scheduler=tracks_scheduler,
            base_scheduler=base_scheduler,
            refiner_scheduler=refiner_scheduler,
        )
        self.register_to_config(shared_noise=shared_noise, guided_above=guided_above, draft_high=draft_high)

    @denormals_flushed()
    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] = "",
        guidance_scale: float = 2.0,
        num_inference_steps: int = 5,
        num_frames: int = 16,
        height: int = 64,
        width: int = 64,
        fps: Fraction | int | str = 8,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        camera: str | None = None,
        style: str | None = None,
        refine: bool | None = None,
        refiner_strength: float = 0.1,
        refiner_prompt: str | Sequence[str] | None = None,
        refiner_steps: int = 1,
        refiner_guidance_scale: float = 1.0,
        tracks_steps: int = 24,
    ) -> ReferenceVideoOutput:
        """Clips for prompts.

        Args:
            prompt: one or several; `(words:1.3)` weighs words.
            negative_prompt: what to steer away from, for all prompts or one for each. Works while guidance_scale > 1.
            guidance_scale: classifier-free guidance of tracks and base (there above `guided_above`); 1 is off.
            num_inference_steps: denoising steps of the base; `tracks_steps` and `refiner_steps` are the others'.
            num_frames: 1 or more. What happens spans the whole clip; clips of more than 16 frames are painted in
                overlapping windows.
            height, width: 32 to 256, multiples of 8. Trained at 64 x 64 and 48 x 80; the base paints at half the size.
            fps: frames per second that the clip is meant to be played at; it changes no pixel.
            generator, seed: one CPU generator or seed for each prompt, or one seed from which each prompt gets
                seed + its position. A request's noise depends on its own generator only.
            camera, style: values of `world.attributes`, said in words at the end of the prompt.
            refine: False returns the base clip, enlarged (bicubic); by default True where there is a refiner.
            refiner_strength: 0 to 1: how much noise is put on the base clip, so how much the refiner may change.
            refiner_prompt: what the refiner is told; the prompt by default.

        Raises:
            ValueError: a setting outside what is said above.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        prompts = [with_controls(text, camera, style) for text in prompts]
        negatives = spread(negative_prompt, len(prompts), "negative_prompt")
        check_shape(num_frames, height, width)
        check_steps(
            num_inference_steps=num_inference_steps, tracks_steps=tracks_steps, refiner_steps=refiner_steps
        )
        if not 0 <= refiner_strength <= 1:
            raise ValueError(f"refiner_strength is {refiner_strength}; it must be between 0 and 1")
        refine = self.refiner is not None if refine is None else refine
        if refine and self.refiner is None:
            raise ValueError(
                "this pipeline has no refiner: call it with refine=False or load a version that has one"
            )
        generators = per_prompt_generators(generator, seed, len(prompts))
        text = self.text_encoder(prompts)
        against = self.text_encoder(negatives) if guidance_scale != 1 else None

        tokens = self._plan(text, against, width / height, guidance_scale, tracks_steps, generators)
        aspect = torch.full((len(prompts),), width / height, device=text.device)
        objects, view, phase = self.tracks.network.codec.decode(tokens, aspect)
        objects, view = resample(objects, num_frames), resample(view, num_frames)
        layout = draw_layout(objects, view, phase, height // 2, width // 2)
        small = self._paint(
            layout, text, against, guidance_scale, num_inference_steps, generators,
            [bool(words.strip()) for words in negatives],
        )  # fmt: skip
        large = enlarge(small, height, width)
        if refine:
            told = (
                text
                if refiner_prompt is None
                else self.text_encoder(spread(refiner_prompt, len(prompts), "refiner_prompt"))
            )
            avoid = self.text_encoder(negatives) if refiner_guidance_scale != 1 else None
            large = self._refine(
                large,
                told,
                avoid,
                refiner_strength,
                refiner_guidance_scale,
                refiner_steps,
                generators,
                layout,
            )
        return ReferenceVideoOutput(
            frames=list(to_bytes(large)),
            base_frames=list(to_bytes(small)),
            tracks=objects,
            camera=view,
            fps=Fraction(fps),
        )

    def _plan(
        self,
        text: Tensor,
        against: Tensor | None,
        aspect: float,
        guidance: float,
        steps: int,
        generators: list[torch.Generator],
    ) -> Tensor:
        """Denoised track tokens (B, SLOTS + 1, FEATURES)."""
        scheduler = EDMEulerScheduler.from_config(self.tracks_scheduler.config)
        scheduler.set_timesteps(steps)
        x = torch.cat([torch.randn(1, SLOTS + 1, FEATURES, generator=each) for each in generators]).to(
            text.device
        )
        x = x * scheduler.sigmas[0]
        ratio = torch.full((len(x),), aspect, device=text.device)
        for timestep in scheduler.timesteps:
            scaled, level = scheduler.scale_model_input(x, timestep), timestep.to(x).expand(len(x))
            output = self.tracks(scaled, level, text, ratio)
            if against is not None:
                other = self.tracks(scaled, level, against, ratio)
                output = other + guidance * (output - other)
            x = scheduler.step(output, timestep, x).prev_sample
        return x

    def _paint(
        self,
        layout: Layout,
        text: Tensor,
        against: Tensor | None,
        guidance: float,
        steps: int,
        generators: list[torch.Generator],
        negated: Sequence[bool] = (),
    ) -> Tensor:
        """Small clips (B, T, 3, H, W) in [-1, 1]; `negated` says for which of them `against` is a negative prompt."""
        frames, _, height, width = layout.ground.shape[1:]
        plan = self.base.network.plan(layout, text)
        other_plan = None if against is None else self.base.network.plan(layout, against)
        scheduler = EDMEulerScheduler.from_config(self.base_scheduler.config)
        scheduler.set_timesteps(steps)
        shape = (1, frames, 3, height, width)
        x = torch.cat([clip_noise(shape, each, self.config.shared_noise) for each in generators]).to(
            text.device
        )
        x = x * scheduler.sigmas[0]
        above = torch.full((len(x), 1, 1, 1, 1), float(self.config.guided_above), device=x.device)
        if any(negated):
            heard = torch.tensor(negated, device=x.device).view_as(above)
            above = torch.where(heard, above.clamp(max=NEGATED_ABOVE), above)
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            scaled, level = scheduler.scale_model_input(x, timestep), timestep.to(x).expand(len(x))
            guided = sigma.to(above) > above

            def estimate(
                first: int,
                end: int,
                scaled: Tensor = scaled,
                level: Tensor = level,
                guided: Tensor = guided,
            ) -> Tensor:
                output = self.base(scaled[:, first:end], level, plan[:, first:end], text)
                if other_plan is None or not bool(guided.any()):
                    return output  # type: ignore[no-any-return]
                other = self.base(scaled[:, first:end], level, other_plan[:, first:end], against)
                return torch.where(guided, other + guidance * (output - other), output)

            x = scheduler.step(blended(frames, estimate), timestep, x).prev_sample
        return x.clamp(-1, 1)

    def _refine(
        self,
        draft: Tensor,
        text: Tensor,
        against: Tensor | None,
        strength: float,
        guidance: float,
        steps: int,
        generators: list[torch.Generator],
        layout: Layout | None = None,
    ) -> Tensor:
        """Refined clips, of the shape of `draft` (B, T, 3, H, W), over the layout that they were painted over, if known."""
        level = draft_sigma(strength, float(self.config.draft_high))
        scheduler = EDMEulerScheduler.from_config(self.refiner_scheduler.config)
        scheduler.set_timesteps(steps)
        grain = [
            [clip_noise(draft[:1].shape, each, self.config.shared_noise) for _ in range(2)]
            for each in generators
        ]
        x = draft + torch.cat([pair[0] for pair in grain]).to(draft) * scheduler.sigmas[0]
        noised = draft + torch.cat([pair[1] for pair in grain]).to(draft) * level
        noised = scheduler.precondition_inputs(noised, level)
        draft_level = scheduler.precondition_noise(level)
        draft_level = torch.full((len(x),), float(draft_level), device=draft.device)
        plan, other_plan = (self._refiner_plan(layout, told) for told in (text, against))
        for timestep in scheduler.timesteps:
            scaled, now = scheduler.scale_model_input(x, timestep), timestep.to(x).expand(len(x))

            def estimate(first: int, end: int, scaled: Tensor = scaled, now: Tensor = now) -> Tensor:
                window = scaled[:, first:end], now, noised[:, first:end], draft_level
                output = self.refiner(*window, text, None if plan is None else plan[:, first:end])
                if against is None:
                    return output  # type: ignore[no-any-return]
                other = self.refiner(
                    *window, against, None if other_plan is None else other_plan[:, first:end]
                )
                return other + guidance * (output - other)  # type: ignore[no-any-return]

            x = scheduler.step(blended(x.shape[1], estimate), timestep, x).prev_sample
        return x.clamp(-1, 1)

    def _refiner_plan(self, layout: Layout | None, text: Tensor | None) -> Tensor | None:
        """What the refiner is told of the layout; None where there is nothing to tell."""
        network = self.refiner.network
        return None if layout is None or text is None or not network.told else network.plan(layout, text)


def with_controls(prompt: str, camera: str | None, style: str | None) -> str:
    """The prompt with camera and style said in words at its end."""
    for name, value, table in (("camera", camera, CAMERAS), ("style", style, STYLES)):
        if value is None:
            continue
        if value not in table:
            raise ValueError(f"{name} is {value!r}; known values: {', '.join(table)}")
        prompt = f"{prompt}, {table[value][0]}"
    return prompt


def spread(value: str | Sequence[str], count: int, name: str) -> list[str]:
    """One text for each of `count` prompts."""
    values = [value] * count if isinstance(value, str) else list(value)
    if len(values) != count:
        raise ValueError(
            f"{name} has {len(values)} texts for {count} prompts; give one, or one for each prompt"
        )
    return values


def check_shape(num_frames: int, height: int, width: int) -> None:
    """Raises ValueError for a shape that the model cannot make."""
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}; it must be at least 1")
    for name, value in (("height", height), ("width", width)):
        if value % MULTIPLE or not SIZES[0] <= value <= SIZES[1]:
            raise ValueError(
                f"{name} is {value}; it must be a multiple of {MULTIPLE} between {SIZES[0]} and {SIZES[1]}"
            )


def check_steps(**steps: int) -> None:
    """Raises ValueError for a number of steps below 1."""
    for name, value in steps.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")


def per_prompt_generators(
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seed: int | Sequence[int] | None,
    count: int,
) -> list[torch.Generator]:
    """One CPU generator for each prompt."""
    if (generator is None) == (seed is None):
        raise ValueError("give either generator or seed, so that the clip can be made again")
    if generator is not None:
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        if len(generators) != count:
            raise ValueError(f"{len(generators)} generators for {count} prompts; give one for each prompt")
        return generators
    seeds = [seed + place for place in range(count)] if isinstance(seed, int) else list(seed or ())
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} prompts; give one, or one for each prompt")
    return [torch.Generator().manual_seed(each) for each in seeds]


def to_bytes(clips: Tensor) -> Tensor:
    """Frames in [-1, 1] to uint8 on the CPU."""
    return ((clips.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
