"""The pipeline's plumbing on tiny random weights: every argument does what it says, and nothing else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from reference_model.layout import draw_layout
from reference_model.pipeline import ReferenceVideoPipeline
from reference_model.pipeline.modules import PainterModel, RefinerModel, TextModel, TracksModel
from reference_model.pipeline.pipeline import with_controls
from reference_model.pipeline.release import load_pipeline, save
from reference_model.text import Tokenizer
from reference_model.world.render import SLOTS

FAST = {
    "num_inference_steps": 2,
    "tracks_steps": 2,
    "refiner_steps": 1,
    "num_frames": 4,
    "height": 32,
    "width": 32,
}
PROMPT = "a large red ball moves left"


def tiny(refiner: bool = True) -> ReferenceVideoPipeline:
    from diffusers import EDMEulerScheduler

    torch.manual_seed(0)
    parts = [
        TextModel(list(Tokenizer.of_world().words)),
        TracksModel(width=32, depth=1),
        PainterModel(width=8),
        RefinerModel(width=8, planes=3, ground=2),
    ]
    for part in parts:
        for parameter in part.parameters():
            # Layers that begin at zero would hide whether an input reaches the output.
            torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else torch.nn.init.normal_(
                parameter, std=0.05
            )
        part.eval()
    text, tracks, base, last = parts
    pipeline = ReferenceVideoPipeline(
        text_encoder=text,
        tracks=tracks,
        base=base,
        refiner=last if refiner else None,
        tracks_scheduler=EDMEulerScheduler(sigma_min=0.02, sigma_max=20.0, sigma_data=1.0),
        base_scheduler=EDMEulerScheduler(sigma_min=0.1, sigma_max=20.0, sigma_data=0.5),
        refiner_scheduler=EDMEulerScheduler(sigma_min=0.1, sigma_max=10.0, sigma_data=0.5),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline() -> ReferenceVideoPipeline:
    return tiny()


def make(
    pipeline: ReferenceVideoPipeline, prompt: str | list[str] = PROMPT, **settings: object
) -> list[torch.Tensor]:
    settings = {"seed": 1} | FAST | settings
    return pipeline(prompt, **settings).frames  # type: ignore[no-any-return]


def differs(first: torch.Tensor, second: torch.Tensor) -> bool:
    return int((first.int() - second.int()).abs().max()) > 2


def test_frames_are_bytes_of_the_asked_shape(pipeline: ReferenceVideoPipeline) -> None:
    made = pipeline([PROMPT, "a star"], seed=1, fps="24000/1001", **{**FAST, "height": 32, "width": 48})
    assert [tuple(clip.shape) for clip in made.frames] == [(4, 3, 32, 48)] * 2
    assert made.frames[0].dtype == torch.uint8
    assert tuple(made.base_frames[0].shape) == (4, 3, 16, 24)
    assert made.fps == Fraction(24000, 1001)


def test_same_seed_same_clip_other_seed_other_clip(pipeline: ReferenceVideoPipeline) -> None:
    first, again, other = make(pipeline)[0], make(pipeline)[0], make(pipeline, seed=2)[0]
    assert torch.equal(first, again)
    assert differs(first, other)


def test_a_generator_is_a_seed(pipeline: ReferenceVideoPipeline) -> None:
    assert torch.equal(
        make(pipeline)[0], make(pipeline, seed=None, generator=torch.Generator().manual_seed(1))[0]
    )


def test_company_in_the_batch_changes_no_noise(pipeline: ReferenceVideoPipeline) -> None:
    alone = make(pipeline, ["a star"], seed=[5])[0]
    beside = make(pipeline, [PROMPT, "a star", "two blue hearts"], seed=[1, 5, 9])[1]
    assert not differs(alone, beside)


def test_global_randomness_is_neither_read_nor_moved(pipeline: ReferenceVideoPipeline) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = make(pipeline)[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    assert torch.equal(first, make(pipeline)[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance_scale": 4.0}, {"num_inference_steps": 3}, {"tracks_steps": 4}, {"refiner_steps": 2}, {"refine": False},
        {"refiner_strength": 0.9}, {"refiner_prompt": "sepia"}, {"refiner_guidance_scale": 3.0},
        {"negative_prompt": "at night"}, {"camera": "pan_left"}, {"style": "sepia"},
    ],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_every_setting_reaches_the_clip(
    pipeline: ReferenceVideoPipeline, settings: dict[str, object]
) -> None:
    assert not torch.equal(make(pipeline)[0], make(pipeline, **settings)[0])


def test_a_negative_prompt_needs_guidance(pipeline: ReferenceVideoPipeline) -> None:
    off = {"guidance_scale": 1.0}
    assert torch.equal(make(pipeline, **off)[0], make(pipeline, negative_prompt="at night", **off)[0])


def test_a_negative_prompt_is_heard_below_the_levels_that_are_guided_and_by_its_own_clip_alone() -> None:
    never = tiny()
    never.register_to_config(guided_above=1e9)

    def painted(*negative: str) -> list[torch.Tensor]:
        text = never.text_encoder([PROMPT] * 2)
        layout = draw_layout(torch.zeros(2, 3, 4, 6), torch.zeros(2, 4, 3), torch.zeros(2, 2), 16, 16)
        generators = [torch.Generator().manual_seed(place) for place in range(2)]
        against = never.text_encoder(list(negative))
        return list(never._paint(layout, text, against, 3.0, 2, generators, [bool(n) for n in negative]))

    with torch.no_grad():
        neither, second = painted("", ""), painted("", "at night")
    assert torch.equal(neither[0], second[0])
    assert not torch.equal(neither[1], second[1])


def test_word_weights_reach_the_clip(pipeline: ReferenceVideoPipeline) -> None:
    plain = make(pipeline)[0]
    assert torch.equal(plain, make(pipeline, "a large (red:1.0) ball moves left")[0])
    assert differs(plain, make(pipeline, "a large (red:2.5) ball moves left")[0])


def test_camera_and_style_are_words(pipeline: ReferenceVideoPipeline) -> None:
    assert with_controls("a star", "zoom_in", "night") == "a star, the camera zooms in, at night"
    said = make(pipeline, "a star, the camera zooms in, at night")[0]
    assert torch.equal(said, make(pipeline, "a star", camera="zoom_in", style="night")[0])


def test_fps_changes_no_pixel(pipeline: ReferenceVideoPipeline) -> None:
    assert torch.equal(make(pipeline)[0], make(pipeline, fps=30)[0])


@pytest.mark.parametrize("frames", [1, 2, 23])
def test_any_number_of_frames(pipeline: ReferenceVideoPipeline, frames: int) -> None:
    assert make(pipeline, num_frames=frames)[0].shape[0] == frames


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"height": 30}, "height is 30"),
        ({"width": 512}, "width is 512"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"refiner_strength": 1.5}, "refiner_strength is 1.5"),
        ({"camera": "spin"}, "camera is 'spin'; known values: static"),
        ({"style": "oil"}, "style is 'oil'"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt has 2 texts for 1 prompts"),
        ({"seed": None}, "either generator or seed"),
        ({"seed": [1, 2]}, "2 seeds for 1 prompts"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    pipeline: ReferenceVideoPipeline, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        make(pipeline, **settings)


def test_without_a_refiner_the_base_is_enlarged() -> None:
    base_only = tiny(refiner=False)
    assert torch.equal(make(base_only)[0], make(tiny(), refine=False)[0])
    with pytest.raises(ValueError, match="has no refiner"):
        make(base_only, refine=True)


@torch.no_grad()
def test_the_refiner_is_told_where_objects_are_and_does_without(pipeline: ReferenceVideoPipeline) -> None:
    generator = torch.Generator().manual_seed(3)
    draft = torch.rand(1, 20, 3, 32, 32, generator=generator) * 2 - 1
    text = pipeline.text_encoder([PROMPT])

    def refined(x: float | None, told: torch.Tensor = text) -> torch.Tensor:
        tracks = torch.zeros(1, SLOTS, 20, 6)
        tracks[:, 0, :, 0], tracks[:, 0, :, 3] = 1.0, -1.0
        tracks[:, 0, :, 1] = x or 0.0
        layout = draw_layout(tracks, torch.zeros(1, 20, 3), torch.zeros(1, 2), 16, 16)
        seeds = [torch.Generator().manual_seed(0)]
        return pipeline._refine(draft, told, None, 0.1, 1.0, 1, seeds, None if x is None else layout)

    assert torch.equal(refined(-0.5), refined(-0.5))
    assert float((refined(-0.5) - refined(0.5)).abs().mean()) > 1e-3
    assert not torch.equal(refined(None), refined(0.5))
    with_other_words = pipeline.text_encoder(["a small blue star"])
    assert not torch.equal(refined(0.5), refined(0.5, with_other_words))


@pytest.mark.parametrize("refiner", [True, False])
def test_a_saved_folder_loads_offline_and_gives_the_same_clip(tmp_path: Path, refiner: bool) -> None:
    original = tiny(refiner)
    for part in (original.text_encoder, original.tracks, original.base, original.refiner):
        if part is not None:
            for parameter in part.parameters():
                parameter.data = parameter.data.half().float()
    save(original, tmp_path / "model", {"version": "test"})
    loaded = load_pipeline(str(tmp_path / "model"))
    assert torch.equal(make(original)[0], make(loaded)[0])
    assert isinstance(
        ReferenceVideoPipeline.from_pretrained(tmp_path / "model", local_files_only=True),
        ReferenceVideoPipeline,
    )


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    save(tiny(), tmp_path / "model", {"version": "test"})
    path = tmp_path / "model" / "base" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="sha256"):
        load_pipeline(str(tmp_path / "model"))
