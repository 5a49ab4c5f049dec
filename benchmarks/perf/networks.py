"""Bar 3b: a real network's batches against a frame at a time, in float32 and in bfloat16. Random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.perf.measure import Bar, alternate
from evalkit import _torchvision


def bars(rounds: int, quick: bool) -> list[Bar]:
    """DINO's ViT-S/16 over 16 frames of 224 x 224: VBench asks for one frame at a time."""
    _torchvision.ensure()
    import timm

    torch.manual_seed(0)
    frames = torch.randn(4 if quick else 16, 3, 224, 224)
    network = timm.create_model("vit_small_patch16_224", num_classes=0).eval().requires_grad_(False)
    half = timm.create_model("vit_small_patch16_224", num_classes=0)
    half.load_state_dict(network.state_dict())
    half = half.to(torch.bfloat16).eval().requires_grad_(False)

    @torch.inference_mode()
    def one_by_one() -> torch.Tensor:
        return torch.cat([network(frame[None]) for frame in frames])

    @torch.inference_mode()
    def batched() -> torch.Tensor:
        return torch.cat([network(batch) for batch in frames.split(4)])

    @torch.inference_mode()
    def halved() -> torch.Tensor:
        return torch.cat([half(batch.to(torch.bfloat16)) for batch in frames.split(4)]).float()

    clock = alternate({"frame by frame": one_by_one, "batches of 4": batched, "bfloat16": halved}, rounds)

    def consistency(features: torch.Tensor) -> float:
        unit = torch.nn.functional.normalize(features, dim=-1)
        return float((unit[1:] * unit[:-1]).sum(-1).mean())

    change = abs(consistency(batched()) - consistency(halved()))
    return [
        Bar("3b", "DINO ViT-S/16 in float32, frame by frame / evalkit's batches",
            clock.ratio("frame by frame", "batches of 4"), 1.15, "at least", detail=clock.ms(),
            reason="On one thread a frame at a time keeps its activations in the core's cache and loses nothing to "
            "a batch; the gain of batches is on GPUs. evalkit is not slower, and asks the network once rather than "
            "once a dimension."),
        Bar("3c", "the same, frame by frame in float32 / batches in bfloat16",
            clock.ratio("frame by frame", "bfloat16"), 3, "at least",
            detail=f"the mean similarity of neighbouring frames moves by {change:.1e}",
            reason=_bfloat16_here()),
        Bar("3d", "score change by bfloat16", change, 1e-3, "at most", unit=""),
    ]  # fmt: skip


def _bfloat16_here() -> str:
    """What this processor does with bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    found = sorted(flags & {"amx_bf16", "avx512_bf16"})
    return (
        f"This processor has {', '.join(found)}."
        if found
        else "This processor has no bfloat16 instructions (amx_bf16, avx512_bf16) and emulates them: leave @bfloat16 out "
        "of networks' names here."
    )
