"""What every worker process imports, so that the server which forks workers imports it once for all of them.

Importing must start no thread and touch no device: a forked process gets neither.
"""

# ruff: noqa: F401 (importing is the point)

from __future__ import annotations

import av
import cv2
import PIL.Image
import torch

import evalkit.engine.executor
import evalkit.engine.generate
import evalkit.engine.score
import evalkit.features.compute
import evalkit.metrics.registry
import evalkit.models.protocol
import evalkit.runs.clips
import evalkit.runs.feature_store
import evalkit.video.decoding
import evalkit.video.encoding
import evalkit.video.preview

__all__: list[str] = []
