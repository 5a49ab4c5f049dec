"""Bar 3b: a real network's passes as the peer makes them against evalkit's, in float32 and bfloat16. Random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.perf.measure import Bar, alternate
from evalkit import _torchvision


def bars(rounds: int, quick: bool) -> list[Bar]:
    """DINO's ViT-S/16 over 16 frames of 224 x 224.

    VBench asks DINO's own code for one frame at a time. That code writes attention out: the product of queries and keys,
    softmax, the product with the values, each a tensor in memory. evalkit loads the same weights into the same
    architecture with torch's fused attention, and passes four frames at a time.
    """
    _torchvision.ensure()
    import timm
    from safetensors.torch import save_file

    from evalkit.features.image import _BATCH
    from evalkit.features.networks.image import load_image_network

    torch.manual_seed(0)
    frames = torch.randn(4 if quick else 16, 3, 224, 224)
    peer = timm.create_model("vit_small_patch16_224", num_classes=0).eval().requires_grad_(False)
    for block in peer.blocks:
        block.attn.fused_attn = False
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(Path(folder) / "dino.safetensors")
        save_file(peer.state_dict(), checkpoint)
        network = load_image_network("dino_vits16", checkpoint)
        half = load_image_network("dino_vits16@bfloat16", checkpoint)

    @torch.inference_mode()
    def one_by_one() -> torch.Tensor:
        return torch.cat([peer(frame[None]) for frame in frames])

    @torch.inference_mode()
    def batched() -> torch.Tensor:
        return torch.cat([network.forward(batch)["features"] for batch in frames.split(_BATCH)])

    @torch.inference_mode()
    def halved() -> torch.Tensor:
        return torch.cat([half.forward(batch)["features"] for batch in frames.split(_BATCH)])

    @torch.inference_mode()
    def products() -> None:
        for batch in frames.split(_BATCH):
            tokens, hidden = (torch.ones(len(batch), 197, width) for width in (384, 4 * 384))
            for block in network.module.blocks:  # type: ignore[union-attr]
                for layer, rows in (
                    (block.attn.qkv, tokens),
                    (block.attn.proj, tokens),
                    (block.mlp.fc1, tokens),
                    (block.mlp.fc2, hidden),
                ):
                    layer(rows)

    products_alone = "its layers' matrix products alone"
    clock = alternate({"the peer": one_by_one, "evalkit": batched, products_alone: products}, max(3, rounds))
    bound = clock.ratio("the peer", products_alone)
    in_half = alternate({"evalkit in bfloat16": halved}, 1)  # seconds a pass where it is emulated
    apart = float((one_by_one() - batched()).abs().max())

    def consistency(features: torch.Tensor) -> float:
        unit = torch.nn.functional.normalize(features, dim=-1)
        return float((unit[1:] * unit[:-1]).sum(-1).mean())

    change = abs(consistency(batched()) - consistency(halved()))
    return [
        Bar("3b", "DINO ViT-S/16 in float32, the peer's frame by frame / evalkit's batches",
            clock.ratio("the peer", "evalkit"), 1.15, "at least",
            detail=f"{clock.ms()}; features differ by {apart:.1e} at most",
            reason=f"The layers' matrix products alone, which are the same on both sides, take "
            f"{1000 * clock.median(products_alone):.3g} ms of evalkit's {1000 * clock.median('evalkit'):.3g}: were "
            f"everything else free, it would be {bound:.2f}x. Fused attention and batches save what remains of it."),
        Bar("3c", "the same, the peer in float32 / evalkit in bfloat16",
            clock.median("the peer") / in_half.median("evalkit in bfloat16"), 3, "at least",
            detail=f"{in_half.ms()}; the mean similarity of neighbouring frames moves by {change:.1e}",
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
