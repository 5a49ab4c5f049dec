"""How long the reference model takes for a clip, both stages: wall time of a batch on two cores, and processor time."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from statistics import median

import torch

from benchmarks.perf.measure import Bar

BATCH, THREADS, LIMIT = 8, 2, 3.0
WHAT = f"the reference model, 16 frames of 64x64, both stages, wall time a clip in batches of {BATCH}, {THREADS} threads"


def bars(rounds: int, quick: bool) -> list[Bar]:
    """Wall seconds a clip; the processor's seconds and the load of the machine stand beside them.

    Wall time on a machine with other work measures that work too, so the limit is for two free cores.
    """
    from evalkit.models import load_model
    from evalkit.runs.plan import plan_generation
    from evalkit.suites import load_suite

    try:
        model = load_model("reference")
        model.load("cpu")
    except Exception as error:
        return [
            Bar("9", WHAT, None, LIMIT, "at most", "s", reason=f"the model cannot be loaded here: {error}")
        ]
    overrides = {"num_frames": 16, "height": 64, "width": 64}
    plan = plan_generation(load_suite("core").select(limit=BATCH), model.info, overrides=overrides)
    asked = [clip.request for clip in plan.clips if clip.request is not None][:1]
    requests = [replace(asked[0], seed=seed) for seed in range(BATCH)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model.generate(requests[:1])
    alone = time.process_time()
    model.generate(requests)
    alone = (time.process_time() - alone) / BATCH
    torch.set_num_threads(THREADS)
    try:
        taken = []
        for _ in range(1 if quick else rounds):
            wall, busy = time.perf_counter(), time.process_time()
            model.generate(requests)
            taken.append(((time.perf_counter() - wall) / BATCH, (time.process_time() - busy) / BATCH))
    finally:
        torch.set_num_threads(before)
    walls = [wall for wall, _ in taken]
    load = os.getloadavg()[0]
    detail = (
        f"wall {min(walls):.2f} to {max(walls):.2f} s over {len(walls)} rounds, processor time of both threads "
        f"{median(busy for _, busy in taken):.2f} s a clip, of one thread alone {alone:.2f} s; load average {load:.1f} "
        f"on {os.cpu_count()} cores right after"
    )
    crowded = load > THREADS + 1
    reason = (
        f"The cores were not free, and threads that wait for each other spin: {detail}" if crowded else ""
    )
    return [Bar("9", WHAT, median(walls), LIMIT, "at most", "s", detail, reason)]
