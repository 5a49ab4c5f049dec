"""Time itself: stillness, repeats, cuts, loops, jitter, smoothness and drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from evalkit.metrics.functional.flow import pieces, visible_mask, warp
from evalkit.metrics.functional.motion import camera_motion

__all__ = [
    "Stillness",
    "colour_drift",
    "cut_strength",
    "feature_drift",
    "interpolation_error",
    "jitter",
    "repetition",
    "stillness",
    "wobble",
]

# Mean absolute difference below which ffmpeg's `freezedetect` calls two frames the same: -60 dB of 255.
_STILL_LEVEL = 0.001 * 255
# Up to this many still transitions in a row are repeated frames (pull-down, dropped frames); more are a freeze.
_LONGEST_REPEAT = 2
# How many times the mean change around it a cut changes at least: PySceneDetect's adaptive detector, which looks at two
# frames on either side as well.
_ADAPTIVE = 3.0


class Stillness(NamedTuple):
    """Which transitions stand still.

    Args:
        frozen: bool `(T-1,)`, within a run of more than two still transitions.
        repeated: bool `(T-1,)`, within a shorter run that has motion on both sides.
    """

    frozen: torch.Tensor
    repeated: torch.Tensor


def stillness(differences: torch.Tensor) -> Stillness:
    """Sort still transitions into freezes and repeated frames.

    Args:
        differences: mean absolute differences of neighbouring frames `(T-1,)`, in levels of 255.

    Example:
        >>> import torch
        >>> result = stillness(torch.tensor([5.0, 0.0, 5.0, 0.0, 0.0, 0.0]))
        >>> result.repeated.nonzero().flatten().tolist(), result.frozen.nonzero().flatten().tolist()
        ([1], [3, 4, 5])
    """
    still = differences < _STILL_LEVEL
    frozen, repeated = torch.zeros_like(still), torch.zeros_like(still)
    start = 0
    for end in range(1, len(still) + 1):
        if end < len(still) and still[end] == still[start]:
            continue
        if still[start]:
            if end - start > _LONGEST_REPEAT:
                frozen[start:end] = True
            elif start > 0 and end < len(still):
                repeated[start:end] = True
        start = end
    return Stillness(frozen, repeated)


def cut_strength(frames: torch.Tensor, coherence: torch.Tensor) -> torch.Tensor:
    """How much every transition looks like a cut, float64 `(T-1,)` in 0..1.

    The change of the colour histogram (8 x 8 x 8 bins, total variation) beyond the largest and beyond three times the
    mean change of the two transitions on either side, times the incoherence of the motion. A flash changes colours
    twice in a row, a pan cannot be a cut, because it can be followed, and colours that a codec or a sensor moves about
    the borders of bins change about as much in one transition as in the next.

    Args:
        frames: uint8 `(T, 3, H, W)`.
        coherence: share of the picture that can be followed, `(T-1,)`.

    Example:
        >>> import torch
        >>> frames = torch.zeros(6, 3, 8, 8, dtype=torch.uint8); frames[3:] = 200
        >>> cut_strength(frames, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])).tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    bins = (frames >> 5).long()
    index = (bins[:, 0] * 64 + bins[:, 1] * 8 + bins[:, 2]).flatten(1)
    histogram = torch.stack([torch.bincount(item, minlength=512).double() for item in index]) / index.shape[1]
    change = (histogram[1:] - histogram[:-1]).abs().sum(1) / 2
    around = _beside(change)
    # At the ends of a clip there are fewer neighbours.
    usual = torch.maximum(around.amax(0), _ADAPTIVE * around.sum(0) / _beside(torch.ones_like(change)).sum(0))
    return (change - usual).clamp(min=0) * (1 - coherence.double())


def _beside(values: torch.Tensor) -> torch.Tensor:
    """The two values before and the two after every value of `(n,)`, 0 where there is none, as `(4, n)`."""
    padded = torch.nn.functional.pad(values, (2, 2))
    return torch.stack([padded[shift : shift + len(values)] for shift in (0, 1, 3, 4)])


def jitter(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Mean acceleration along the paths of the flow, in percent of the shorter side, float64 `(T-2,)`.

    `|f[t+1](x) - f[t](x')|` at pixels of frame t+1, x' their place in frame t; averaged over pixels visible in all
    three frames. Steady motion has none, whatever its speed; shaking has twice its amplitude.

    Example:
        >>> import torch
        >>> steady = torch.ones(3, 2, 50, 50)
        >>> shaken = steady.clone(); shaken[1] = -1.0
        >>> jitter(steady, -steady).tolist(), jitter(shaken, -shaken).round(decimals=1).tolist()  # 2 * 2 ** .5 of 50
        ([0.0, 0.0], [5.7, 5.7])
    """
    means = []
    for field, mask in _accelerations(forward, backward):
        acceleration = field.square().sum(1).sqrt()
        count = mask.sum((1, 2)).double()
        mean = (acceleration * mask).sum((1, 2), dtype=torch.float64) / count.clamp(min=1)
        everywhere = acceleration.double().mean((1, 2))
        # Where nothing can be followed the raw field is all there is.
        means.append(torch.where(count >= 0.01 * mask[0].numel(), mean, everywhere))
    return 100 * torch.cat(means) / min(forward.shape[-2:])


def wobble(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Typical acceleration beyond that of the picture as a whole, in percent of the shorter side, float64 `(T-2,)`.

    The acceleration along the paths, less the shift, zoom and roll that explain most of it (a shaken camera), median
    over pixels visible in all three frames: half of the picture must bend for it, a subject that moves freely does not
    count.

    Example:
        >>> import torch
        >>> shaken = torch.ones(2, 2, 64, 64); shaken[1] = -1.0
        >>> bent = torch.zeros(2, 2, 64, 64); bent[:, 0] = torch.sin(torch.arange(64.0) / 4)[:, None]
        >>> bent[1] *= -1
        >>> [round(wobble(flow, -flow).item(), 1) for flow in (shaken, bent)]
        [0.0, 1.1]
    """
    medians = []
    for field, mask in _accelerations(forward, backward):
        bent = camera_motion(field).residual.square().sum(1).sqrt()
        enough = mask.sum((1, 2)) >= 0.01 * mask[0].numel()
        chosen = [size[seen] if full else size for size, seen, full in zip(bent, mask, enough, strict=True)]
        medians += [size.double().median() for size in chosen]
    return 100 * torch.stack(medians) / min(forward.shape[-2:])


def _accelerations(
    forward: torch.Tensor, backward: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`f[t+1](x) - f[t](x')` `(n, 2, h, w)` in pixels and where all three frames can be seen, a few frames at a time."""
    for part in pieces(len(forward) - 1):
        first, back, second, back_again = (
            flow[part] for flow in (forward[:-1], backward[:-1], forward[1:], backward[1:])
        )
        before = warp(first.permute(0, 2, 3, 1).contiguous(), back).permute(0, 3, 1, 2)
        yield second - before, visible_mask(back, first) & visible_mask(second, back_again)


def interpolation_error(luma: torch.Tensor, leap: torch.Tensor) -> torch.Tensor:
    """How far every odd frame lies from the interpolation of its two even neighbours along the flow.

    With `f` the flow from frame 2k to 2k+2, the middle is `(F[2k](x - f/2) + F[2k+2](x + f/2)) / 2`.

    Args:
        luma: float32 `(T, h, w)` in 0..255, T >= 3.
        leap: flow from every even frame to the next, `((T-1) // 2, 2, h, w)`.

    Returns:
        Mean absolute differences, float64 `((T-1) // 2,)`.

    Example:
        >>> import torch
        >>> luma = torch.tensor([10.0, 20.0, 30.0, 80.0, 50.0]).reshape(5, 1, 1).repeat(1, 4, 4)
        >>> interpolation_error(luma, torch.zeros(2, 2, 4, 4)).tolist()  # 80 lies 40 off the middle of 30 and 50
        [0.0, 40.0]
    """
    count = len(leap)
    before, middle, after = luma[0 : 2 * count : 2], luma[1 : 2 * count : 2], luma[2 : 2 * count + 1 : 2]
    guess = (warp(before, -leap / 2) + warp(after, leap / 2)) / 2
    return (guess - middle).abs().double().mean((1, 2))


def repetition(luma: torch.Tensor, *, shortest: int) -> tuple[float, int]:
    """How much of the clip repeats itself, and how exactly, at its best lag.

    With D(i, j) the root mean square difference of frames reduced to 32 x 32, and m(L) its mean over all pairs
    L apart, the repetition at L is `(1 - m(L) / max of m(l) over l <= L) min(1, 2 (T - L) / T)`: how far the clip comes
    back from the farthest it has been, for frames that lie close together in time look alike without any repetition;
    times the share of the clip that is seen again, 1 when the second half repeats the first.

    Args:
        luma: `(T, h, w)`.
        shortest: smallest lag that counts as a repetition, in frames.

    Returns:
        Repetition in 0..1 and the lag; 0 and 0 for a clip in which nothing changes.

    Example:
        >>> import torch
        >>> wave = 128 + 100 * torch.sin(torch.arange(24.0) * torch.pi / 4)
        >>> strength, lag = repetition(wave.reshape(24, 1, 1).repeat(1, 32, 32), shortest=4)
        >>> round(strength, 3), lag
        (1.0, 8)
    """
    import cv2

    small = [cv2.resize(item, (32, 32), interpolation=cv2.INTER_AREA).ravel() for item in luma.numpy()]
    thumbs = torch.from_numpy(np.stack(small)).double()
    distance = torch.cdist(thumbs, thumbs, compute_mode="donot_use_mm_for_euclid_dist") / 32
    count = len(thumbs)
    lags = torch.arange(1, count)
    means = torch.stack([distance.diagonal(lag).mean() for lag in lags.tolist()])
    if means.mean() < _STILL_LEVEL or count <= shortest:
        return 0.0, 0
    share = (2 * (count - lags).double() / count).clamp(max=1)
    # The first lag is its own farthest; a clip that is still from one frame to the next has nowhere to come back from.
    farthest = means.cummax(0).values.clamp(min=1e-12)
    strength = ((1 - means / farthest).clamp(0, 1) * share)[shortest - 1 :]
    best = int(strength.argmax())
    return float(strength[best]), shortest + best


def colour_drift(frames: torch.Tensor) -> torch.Tensor:
    """CIELAB distance of every frame's mean colour from that of the opening tenth, float64 `(T,)` (Delta E 1976).

    Example:
        >>> import torch
        >>> frames = torch.tensor([0, 0, 255], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 4, 4)
        >>> colour_drift(frames).round(decimals=1).tolist()  # black to white
        [0.0, 0.0, 100.0]
    """
    lab = _lab(frames.double().mean((2, 3)) / 255)
    opening = lab[: max(1, len(lab) // 10)].mean(0)
    return (lab - opening).square().sum(1).sqrt()


# Linear sRGB to XYZ over the white point D65, so that white is (1, 1, 1).
_TO_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)


def _lab(srgb: torch.Tensor) -> torch.Tensor:
    """CIELAB of sRGB in 0..1, `(n, 3)`. OpenCV's own conversion is off by up to 1%, which drifts would inherit."""
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ torch.tensor(_TO_XYZ, dtype=torch.float64).T
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-12) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def feature_drift(features: torch.Tensor, window: int) -> torch.Tensor:
    """Cosine distance of every window of frames to the opening window, float64 `(windows,)`; the first is 0.

    Args:
        features: `(T, D)`.
        window: frames a window; a rest shorter than half of it joins the last one.

    Example:
        >>> import torch
        >>> feature_drift(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), 2).tolist()
        [0.0, 1.0]
    """
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    parts = [part for part in torch.split(unit, window) if len(part) * 2 >= window or len(unit) < window]
    means = torch.nn.functional.normalize(torch.stack([part.mean(0) for part in parts]), dim=-1)
    return (1 - means @ means[0]).clamp(min=0)
