"""How long the reference model takes for a clip, both stages."""

from __future__ import annotations

import time

from benchmarks.perf.measure import Bar


def bars(rounds: int, quick: bool) -> list[Bar]:
    """Processor seconds of 16 frames at 64 x 64, text to clip. A figure to plan with; the limit is a sanity check."""
    from evalkit.models import load_model
    from evalkit.runs.plan import plan_generation
    from evalkit.suites import load_suite

    what = "the reference model, 16 frames of 64x64, both stages"
    try:
        model = load_model("reference")
        model.load("cpu")
    except Exception as error:
        return [
            Bar("9", what, None, 10, "at most", unit="s", reason=f"the model cannot be loaded here: {error}")
        ]
    overrides = {"num_frames": 16, "height": 64, "width": 64}
    plan = plan_generation(load_suite("core").select(limit=2), model.info, overrides=overrides)
    requests = [clip.request for clip in plan.clips if clip.request is not None]
    model.generate(requests[:1])
    seconds = []
    for _ in range(1 if quick else rounds):
        start = time.process_time()
        model.generate(requests[1:2])
        seconds.append(time.process_time() - start)
    return [Bar("9", what, sorted(seconds)[len(seconds) // 2], 10, "at most", unit="s")]
