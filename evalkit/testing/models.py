"""`check_model`: does a model honour the contract of `evalkit.models.VideoModel`?

Call it from the tests of your own model:

    from evalkit.testing import check_model

    def test_my_model():
        check_model(lambda: MyModel(weights="tiny"))
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo, VideoModel
from evalkit.models.registry import missing_parts
from evalkit.suites.prompt import FrozenMapping, thaw

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["ModelReport", "check_model", "sample_requests"]

_UNKNOWN_PARAM = "a_setting_that_no_model_has"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What `check_model` saw.

    Args:
        info: the model's identity.
        checks: what was checked and holds, one line each.
        notes: what could not be checked, and why.
    """

    info: ModelInfo
    checks: tuple[str, ...]
    notes: tuple[str, ...]


def sample_requests(
    info: ModelInfo, prompts: Sequence[str] = ("a red ball", "a blue square")
) -> list[GenerationRequest]:
    """Small requests in the model's default shape, two prompts with a seed each.

    Raises:
        AssertionError: the model has no default shape; give `check_model` requests of your own.
    """
    shape = {"num_frames": 8, "height": 64, "width": 64, "fps": "8", **thaw(info.defaults)}
    params = {
        name: value for name, value in shape.items() if name not in ("num_frames", "height", "width", "fps")
    }
    return [
        GenerationRequest(
            prompt=text,
            seed=11 + 1009 * number,  # far apart: `first seed + place in the batch` must not pass for a seed
            num_frames=int(shape["num_frames"]),
            height=int(shape["height"]),
            width=int(shape["width"]),
            fps=Fraction(str(shape["fps"])),
            params=FrozenMapping(params),
            prompt_id=f"check-{number}",
        )
        for number, text in enumerate(prompts)
    ]


def check_model(
    make: Callable[[], VideoModel],
    requests: Sequence[GenerationRequest] | None = None,
    *,
    device: str = "cpu",
    seeded: bool = True,
    batch_tolerance: int = 1,
) -> ModelReport:
    """Check that a model honours the contract.

    Args:
        make: constructs the model; called several times.
        requests: at least two requests of one shape that the model can fulfil; in its default shape where left out.
        device: where to compute.
        seeded: whether another seed gives another clip; False for clips that exist.
        batch_tolerance: largest difference of a pixel value between a clip made alone and in a batch.

    Raises:
        AssertionError: the first rule that does not hold, with what was seen.
    """
    model = make()
    checks, notes = [_check_identity(make, model)], []
    wanted = list(requests) if requests is not None else sample_requests(model.info)
    assert len(wanted) >= 2, "check_model needs at least two requests"
    checks.append(_check_pickle(model))
    states = _random_states()
    model.load(device)
    clips = _generate(model, wanted)
    assert states == _random_states(), (
        "the model used a global random number generator (random, numpy or torch); make one from the request's seed"
    )
    checks += [
        "one result for every request, in order",
        "clips have the asked shape",
        "global generators are untouched",
    ]
    for request, clip in zip(wanted, clips, strict=True):
        _check_clip(model.info, request, clip)
    checks.append(_check_repeatable(make, model, wanted, clips, device))
    checks.append(_check_batch(model, wanted, clips, batch_tolerance))
    if seeded:
        other = _generate(model, [replace(wanted[0], seed=wanted[0].seed + 1)])[0]
        assert other != clips[0], "another seed gives the very same clip; use the request's seed"
        checks.append("another seed gives another clip")
    else:
        notes.append("seeds were not checked: the clips exist already")
    checks.append(_check_unknown_param(model, wanted[0]))
    checks.append(_check_empty(model))
    if model.info.own_shape:
        notes.append("impossible shapes were not checked: clips come in their own shape")
    else:
        checks.append(_check_impossible(model, wanted[0]))
    return ModelReport(model.info, tuple(checks), tuple(notes))


def _check_identity(make: Callable[[], VideoModel], model: VideoModel) -> str:
    lacks = missing_parts(model)
    assert not lacks, f"{type(model).__name__} lacks {', '.join(lacks)} of evalkit.models.VideoModel"
    info = model.info
    assert isinstance(info, ModelInfo), f"info must be a ModelInfo, got {type(info).__name__}"
    assert info.id, "info.id is empty"
    assert info.revision, "info.revision is empty"
    assert info.batch_size >= 1, f"info.batch_size must be at least 1, got {info.batch_size}"
    for name, value in info.weights.items():
        algorithm, colon, digest = str(value).partition(":")
        assert all((algorithm, colon, digest)), (
            f"info.weights[{name!r}] must read `algorithm:digest`, got {value!r}"
        )
    for part in ("weights", "config", "defaults"):
        try:
            json.dumps(thaw(getattr(info, part)), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"info.{part} must hold JSON types only: {error}") from error
    assert info == make().info, (
        "two models made alike have different infos; the identity must not depend on the object"
    )
    assert model.info == info, "info changes from one reading to the next"
    return "info is there before load, stable, and JSON"


def _check_pickle(model: VideoModel) -> str:
    try:
        copy = pickle.loads(pickle.dumps(model))
    except Exception as error:
        raise AssertionError(
            f"the constructed model cannot be sent to a worker process: {type(error).__name__}: {error}; "
            "keep weights and handles for load()"
        ) from error
    assert copy.info == model.info, "the model's info changes when it is sent to a worker process"
    return "the constructed model travels to worker processes"


def _generate(model: VideoModel, requests: Sequence[GenerationRequest]) -> list[Video]:
    results = list(model.generate(requests))
    assert len(results) == len(requests), f"{len(results)} results for {len(requests)} requests"
    for request, result in zip(requests, results, strict=True):
        assert not isinstance(result, GenerationFailure), (
            f"the request {request.prompt!r} failed: {result.reason if isinstance(result, GenerationFailure) else ''}"
        )
    return results  # type: ignore[return-value]  # no failures are left


def _check_clip(info: ModelInfo, request: GenerationRequest, clip: Any) -> None:
    from evalkit.video import Video

    assert isinstance(clip, Video), (
        f"generate must give Video or GenerationFailure, got {type(clip).__name__}"
    )
    if not info.own_shape:
        asked = (request.num_frames, request.height, request.width)
        got = (clip.num_frames, clip.height, clip.width)
        assert got == asked, f"asked for {asked} (frames, height, width), got {got}; fail the request instead"


def _check_repeatable(
    make: Callable[[], VideoModel],
    model: VideoModel,
    requests: Sequence[GenerationRequest],
    clips: Sequence[Video],
    device: str,
) -> str:
    assert _generate(model, requests) == list(clips), "the same requests give other clips the second time"
    fresh = make()
    fresh.load(device)
    assert _generate(fresh, requests) == list(clips), "a fresh model gives other clips for the same requests"
    return "the same request gives the same clip, from a fresh model too"


def _check_batch(
    model: VideoModel, requests: Sequence[GenerationRequest], clips: Sequence[Video], tolerance: int
) -> str:
    for request, clip in zip(reversed(requests), reversed(clips), strict=True):
        alone = _generate(model, [request])[0]
        assert alone.frames.shape == clip.frames.shape, "a clip made alone has another shape than in a batch"
        difference = int((alone.frames.int() - clip.frames.int()).abs().max())
        assert difference <= tolerance, (
            f"{request.prompt!r} made alone differs by up to {difference} from the one made in a batch "
            f"(allowed: {tolerance}); give every clip a generator of its own"
        )
    return "a clip does not depend on its batch or on the order of requests"


def _check_unknown_param(model: VideoModel, request: GenerationRequest) -> str:
    params = FrozenMapping({**request.params, _UNKNOWN_PARAM: 1})
    _generate(model, [replace(request, params=params)])
    assert _UNKNOWN_PARAM in model.ignored_params, (
        "a parameter that the model does not have must be recorded in ignored_params, or nobody notices a typo"
    )
    return "an unknown parameter is recorded as ignored"


def _check_empty(model: VideoModel) -> str:
    assert list(model.generate([])) == [], "no requests must give no results"
    return "no requests give no results"


def _check_impossible(model: VideoModel, request: GenerationRequest) -> str:
    """One pixel is a shape that hardly any model can make; a model that can must return it."""
    odd = replace(request, num_frames=1, height=1, width=1)
    try:
        (result,) = model.generate([odd])
    except Exception as error:
        raise AssertionError(
            f"a shape that the model cannot make raised {type(error).__name__}: {error}; "
            "return a GenerationFailure, so that the other requests of the batch live"
        ) from error
    if isinstance(result, GenerationFailure):
        assert result.reason, "a GenerationFailure needs a reason"
        assert result.permanent, (
            "a shape that cannot be made is a permanent failure; asking again is pointless"
        )
    else:
        _check_clip(model.info, odd, result)
    return "a shape that cannot be made fails its own request only"


def _random_states() -> tuple[Any, ...]:
    import numpy as np
    import torch

    legacy: Any = np.random.get_state()  # noqa: NPY002 - to see that nobody touches it
    return random.getstate(), legacy[1].tobytes(), legacy[2:], torch.get_rng_state().numpy().tobytes()
