"""The captioned procedural video world with exact ground truth."""

from reference_model.world.captions import Caption, describe, describe_fragment
from reference_model.world.render import Appearance, render, render_scenes, scene_appearance, scene_tracks
from reference_model.world.scenes import Scene, SceneObject, SceneOptions, compose, frame_times, sample_scene

__all__ = [
    "Appearance",
    "Caption",
    "Scene",
    "SceneObject",
    "SceneOptions",
    "compose",
    "describe",
    "describe_fragment",
    "frame_times",
    "render",
    "render_scenes",
    "sample_scene",
    "scene_appearance",
    "scene_tracks",
]
