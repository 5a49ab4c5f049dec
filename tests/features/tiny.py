"""A CLIP of open_clip's layout, small enough for every test run."""

from __future__ import annotations

import json

import torch

__all__ = ["tiny_clip"]

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny_clip(folder):
    """The model, and the `network` and `checkpoint` under which evalkit loads it again."""
    import open_clip

    (folder / "ViT-tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "ViT-tiny-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-tiny-test").eval()
    torch.save(model.state_dict(), folder / "clip.pt")
    return model, {"network": "ViT-tiny-test", "checkpoint": str(folder / "clip.pt")}
