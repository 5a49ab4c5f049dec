"""Metrics of other benchmarks that evalkit does not compute: their names, and what they need.

Each is a metric like any other, so that its imported values have a card, a row and a comparison; asked for without
them, it is skipped with a reason. Facts from the peers' code: VBench 0.1.5, EvalCrafter commit 1275bda, T2V-CompBench
commit 47622f5.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PEERS", "PeerMetric"]


class PeerMetric(NamedTuple):
    """A peer's metric.

    Args:
        title: a few words.
        description: what a person sees when the score is bad.
        needs: the networks that it runs.
        formula: the definition, as far as it goes without them.
        higher: whether more is better.
    """

    title: str
    description: str
    needs: str
    formula: str
    higher: bool = True


_GRIT, _LLAVA = "GRiT (detectron2)", "a vision-language model (LLaVA)"
_FRAMES = "share of 16 middle frames in which"

PEERS: dict[str, PeerMetric] = {
    "vbench.object_class": PeerMetric(
        "VBench object class",
        "The object that the prompt names is not there.",
        _GRIT,
        f"{_FRAMES} the object is detected",
    ),
    "vbench.multiple_objects": PeerMetric(
        "VBench multiple objects",
        "One of the two objects that the prompt names is not there.",
        _GRIT,
        f"{_FRAMES} both objects are detected",
    ),
    "vbench.color": PeerMetric(
        "VBench color",
        "The object has another colour than the prompt says.",
        _GRIT,
        "frames whose caption gives the object the wanted colour / frames whose caption gives it any",
    ),
    "vbench.spatial_relationship": PeerMetric(
        "VBench spatial relationship",
        "The objects do not stand to each other as the prompt says.",
        _GRIT,
        "mean over 16 middle frames of the best pair of boxes; left and right, top and bottom are not told apart",
    ),
    "vbench.human_action": PeerMetric(
        "VBench human action",
        "The person does something else than the prompt says.",
        "UMT ViT-L/16 on Kinetics-400",
        "1 if the action is among the five likeliest classes with a probability of at least .85",
    ),
    "vbench.scene": PeerMetric(
        "VBench scene",
        "The scene is another one than the prompt says.",
        "Tag2Text",
        f"{_FRAMES} the caption contains every word of the scene",
    ),
    **{
        f"evalcrafter.{name}": PeerMetric(f"EvalCrafter {title}", description, needs, formula, higher)
        for name, title, description, needs, formula, higher in (
            ("VQA_A", "VQA-A", "The clip is ugly.", "DOVER", "aesthetic branch, 0..100", True),
            (
                "VQA_T",
                "VQA-T",
                "The clip is noisy, blurred or broken.",
                "DOVER",
                "technical branch, 0..100",
                True,
            ),
            (
                *("IS", "inception score", "Clips look alike, or like nothing in particular."),
                *("Inception", "inception score of the frames", True),
            ),
            (
                *("face_consistency_score", "face consistency", "The face changes while the clip runs."),
                *("DeepFace", "similarity of the face to that of the first frame", True),
            ),
            (
                *("action_score", "action score", "People do something else than the prompt says."),
                *("VideoMAE-v2 on Kinetics", "accuracy of the action that the prompt names", True),
            ),
            (
                *("motion_ac_score", "motion AC-score", "There is more or less motion than the prompt says."),
                *("RAFT", "agreement of the flow's size with the prompt's", True),
            ),
            ("flow_score", "flow score", "The clip hardly moves.", "RAFT", "mean flow magnitude", True),
            (
                *("blip_bleu", "BLIP-BLEU", "The clip shows something else than the prompt says."),
                *("BLIP-2", "BLEU of the clip's captions and the prompt", True),
            ),
            (
                *("sd_score", "SD-score", "The clip shows something else than the prompt says."),
                *("Stable Diffusion XL and CLIP", "similarity to pictures made from the prompt", True),
            ),
            *(
                (
                    *(f"{name}_score", f"{name} score", f"The {what} is not what the prompt says."),
                    *("Segment-and-Track-Anything", "accuracy over frames", True),
                )
                for name, what in (
                    ("detection", "object"),
                    ("color", "colour"),
                    ("count", "number of objects"),
                )
            ),
            (
                *("ocr_score", "OCR score", "Text in the picture is not what the prompt says."),
                *("PaddleOCR", "mean of word, character and edit errors", False),
            ),
            (
                *("celebrity_id_score", "celebrity ID score", "The person is not whom the prompt names."),
                *("DeepFace", "distance to pictures of the person", False),
            ),
        )
    },
    **{
        f"compbench.{name}": PeerMetric(f"T2V-CompBench {title}", description, needs, formula)
        for name, title, description, needs, formula in (
            (
                *(
                    "consistent_attr",
                    "consistent attribute binding",
                    "An attribute belongs to the wrong object.",
                ),
                *(_LLAVA, "graded answers about the frames, 0..1"),
            ),
            (
                *(
                    "dynamic_attr",
                    "dynamic attribute binding",
                    "A change that the prompt asks for does not happen.",
                ),
                *(_LLAVA, "graded answers about first and last frames, 0..1"),
            ),
            (
                *(
                    "spatial_relationship",
                    "spatial relationships",
                    "The objects do not stand as the prompt says.",
                ),
                *(
                    "GroundingDINO and Depth-Anything",
                    "share of frames with the relation between boxes and depths",
                ),
            ),
            (
                *("motion_binding", "motion binding", "An object moves another way than the prompt says."),
                *("GroundingSAM and DOT", "direction of tracked points of object against background"),
            ),
            (
                *("action_binding", "action binding", "An action belongs to the wrong object."),
                *(_LLAVA, "graded answers about the frames, 0..1"),
            ),
            (
                *("interaction", "object interactions", "The interaction does not happen."),
                *(_LLAVA, "graded answers about the frames, 0..1"),
            ),
            (
                *("numeracy", "generative numeracy", "There are more or fewer objects than the prompt says."),
                *("GroundingDINO", "share of frames with the right counts"),
            ),
        )
    },
}
