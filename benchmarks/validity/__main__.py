"""`python -m benchmarks.validity --out FOLDER`: defects, harmless changes, alignment, agreement with people."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.validity.alignment import alignment
from benchmarks.validity.check import worse
from benchmarks.validity.clips import study_clips, unseen_clips, world_clips, world_prompts
from benchmarks.validity.defects import OWN_METRIC, benign_noise, responses
from benchmarks.validity.figures import draw_agreement, draw_prompts, draw_responses, draw_sets, draw_shares
from benchmarks.validity.page import render
from benchmarks.validity.people import RATINGS, agreement
from benchmarks.validity.prompts import prompt_responses
from benchmarks.validity.scoring import Scorer
from benchmarks.validity.sets import OWN_SET_METRIC, set_responses
from benchmarks.validity.shares import generated_clips, share_responses
from evalkit.errors import EvalkitError, MissingExtra, MissingWeights
from evalkit.features.registry import load_extractor
from evalkit.metrics.registry import is_set_metric, load_metric, metric_specs
from evalkit.metrics.spec import ClipMetric
from evalkit.runs.environment import environment
from evalkit.runs.files import atomic_path
from evalkit.suites import Prompt, load_suite
from evalkit.video import Video

DATA = Path(os.environ.get("EVALKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))
PARTS = ("real", "unseen", "world", "benign", "alignment", "prompts", "sets", "shares", "people", "slice")
# What was chosen on the camera shots is confirmed on spans that took no part, which are shorter than those.
UNSEEN, UNSEEN_FRAMES = ("identity_drift",), 12
SLICE = ("flicker_gain", "teleport", "vanish", "blur_burst")
# What only needs the pixels; the rest asks for prompts, files or the time a model took.
_GROUPS = ("temporal.", "visual.", "motion.", "vbench.temporal_flickering")
_WORLD_SIDE = 64
# Seeds of the two sides of a set: as many clips as the manifold metrics' balls around five neighbours can tell apart.
_SET_SEEDS = ((0, 1, 2, 3), (4, 5, 6, 7))
# What extrapolates needs twice as many clips as the encoder has features, and that with a tenth of them left out.
_MANY = "set.fvd_infinity"
_MANY_SEEDS = (range(24), range(24, 48))


def main(arguments: list[str] | None = None) -> int:
    """Run the study; writes summary.json, index.md and figures. 1 when it is worse than `--against`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validity", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for summary.json, index.md, figures/")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder that holds rated/ (default: %(default)s)"
    )
    parser.add_argument("--clips", type=int, default=16, help="camera shots (default: %(default)s)")
    parser.add_argument("--world-clips", type=int, default=12, help="rendered clips (default: %(default)s)")
    parser.add_argument(
        "--benign-clips",
        type=int,
        default=16,
        help="camera shots that are changed harmlessly (default: %(default)s)",
    )
    parser.add_argument(
        "--set-prompts", type=int, default=24, help="prompts whose clips make up a set (default: %(default)s)"
    )
    parser.add_argument("--short-side", type=int, default=120)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument(
        "--only",
        nargs="*",
        help="defects (for benign, sets: metrics) to run; the others are kept (default: all)",
    )
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=list(PARTS), help="parts to run; the others are kept"
    )
    parser.add_argument("--against", type=Path, help="a summary.json that this study may not be worse than")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = json.loads(options.against.read_text(encoding="utf-8")) if options.against else None
    path = options.out / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for part in options.parts:
        if part in ("people", "shares") and not (options.data / "rated" / "ratings.csv").is_file():
            print(f"{part}: no rated clips at {options.data / 'rated'}; left out", file=sys.stderr)
            continue
        # A part hands over what it has as soon as it has it, and the file is read again each time: a study that is
        # stopped keeps what it measured, and parts may be measured beside each other.
        try:
            for measured in _measure(part, options):
                summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
                merge(summary, measured)
                options.out.mkdir(parents=True, exist_ok=True)
                with atomic_path(path) as partial:
                    partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        except EvalkitError as error:
            print(f"Error: {error}", file=sys.stderr)
            return error.exit_code
    draw_responses(summary.get("defects", []), options.out / "figures")
    draw_sets(summary.get("sets", []), options.out / "figures")
    draw_prompts(summary.get("prompts", []), options.out / "figures")
    draw_shares(summary.get("shares", []), options.out / "figures")
    if summary.get("people"):
        draw_agreement(summary["people"], options.out / "figures")
    (options.out / "index.md").write_text(render(summary), encoding="utf-8")
    print(options.out / "index.md")
    lost = worse(summary, record) if record else []
    for line in lost:
        print(line, file=sys.stderr)
    return 1 if lost else 0


def _measure(part: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    started, scorer = time.process_time(), Scorer()
    about: dict[str, Any] = {}
    specs, stamp = metric_specs(), _stamp()
    for result in _results(part, options, scorer, about):
        named = {
            item["metric"].partition(":")[0]
            for name in ("defects", "people", "slice", "sets", "shares", "prompts")
            for item in result.get(name, [])
        }
        spent = {"encoders": scorer.encoders, "cpu_seconds": round(time.process_time() - started)} | stamp
        if "defects" in result:
            # Rows may be measured one by one, so each says by which code.
            result = {"defects": [row | {"measured": stamp} for row in result["defects"]]}
        yield result | {
            "about": {part: about | spent},
            "versions": {name: specs[name].version for name in sorted(named)},
        }


def _stamp() -> dict[str, str]:
    """Today, and the commit of the code that measures."""
    code = environment("cpu", 0)
    commit = code.get("commit", "")[:7] or "unknown commit"
    today = datetime.now(UTC).date().isoformat()
    return {"date": today, "commit": commit + (" with changes" if code.get("dirty") else "")}


def _results(
    part: str, options: argparse.Namespace, scorer: Scorer, about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if part in ("real", "unseen", "world"):
        clips, _ = _clips(part, options)
        about |= {"names": list(clips), **_shape(clips)}
        if options.only and part != "unseen":
            about["only"] = list(options.only)
        only = UNSEEN if part == "unseen" else options.only
        for response in responses(clips, scorer, only=only, source=part):
            print(
                f"{part} {response.defect:<18} {response.metric:<30} monotone {response.monotone:+.2f} "
                f"detected {response.detected:.2f} between {response.auc:.2f} iou {response.iou}",
                file=sys.stderr,
                flush=True,
            )
            yield {"defects": [response.to_dict()]}
    elif part == "benign":
        light, heavy = (
            [name for name in names if not options.only or name in options.only] for names in benign_metrics()
        )
        if options.only:
            about["only"] = [*light, *heavy]
        tables: dict[str, Any] = {}
        for source in ("real", "world"):
            # Differences of single clips scatter more than medians over defects do.
            clips, twins = _clips(source, options, options.benign_clips)
            about.setdefault("names", {})[source] = list(clips)
            tables[source] = benign_noise(clips, twins, scorer, light)
            yield {"benign": tables}
            # Networks take most of the time; a re-encode is the change that reaches them.
            if heavy:
                tables[source] |= benign_noise(clips, twins, scorer, heavy, ("reencode_crf18",))
                yield {"benign": tables}
    elif part == "alignment":
        yield {"alignment": [item.to_dict() for item in alignment()]}
    elif part == "prompts":
        suite = load_suite("core").prompts
        shown = world_clips(suite, seed=0, side=_WORLD_SIDE)
        found = []
        for response in prompt_responses(suite, shown):
            found.append(response.to_dict())
            print(
                f"prompts {response.metric:<40} monotone {response.monotone:+.2f} auc {response.auc:.2f}",
                file=sys.stderr,
                flush=True,
            )
            yield {"prompts": list(found)}
    elif part == "sets":
        prompts = world_prompts(options.set_prompts)
        chosen = [name for name in OWN_SET_METRIC if not options.only or name in options.only]
        if options.only:
            about["only"] = chosen
        sets: dict[str, Any] = {}
        for names, seeds in (
            ([name for name in chosen if name != _MANY], _SET_SEEDS),
            ([name for name in chosen if name == _MANY], _MANY_SEEDS),
        ):
            if not names:
                continue
            sides = [_repeated(prompts, side) for side in seeds]
            for response in set_responses(*sides, scorer, names):
                sets[response.metric] = response.to_dict()
                print(
                    f"sets {response.defect:<10} {response.metric:<16} monotone {response.monotone:+.2f}",
                    file=sys.stderr,
                )
                yield {"sets": list(sets.values())}
    elif part == "shares":
        shares: list[Any] = []
        for share in share_responses(generated_clips(options.data), _clips("real", options)[0], scorer):
            shares.append(share.to_dict())
            print(f"shares {share.defect:<10} {share.metric} monotone {share.monotone:+.2f}", file=sys.stderr)
            yield {"shares": list(shares)}
    elif part == "people":
        people: list[Any] = []
        tables = {}
        for rating, (metrics, every, _) in RATINGS.items():
            found, tables[rating] = agreement(
                options.data / "rated", scorer, rating=rating, metrics=metrics, every=every
            )
            people += [item.to_dict() for item in found]
            yield {"people": people, "rated_clips": tables}
    else:
        yield {"slice": measure_slice(scorer)}


def _clips(
    source: str, options: argparse.Namespace, shots: int | None = None
) -> tuple[Mapping[str, Video], Mapping[str, tuple[Video, Video]]]:
    """Clips of a source, and for each of them two between which nothing is better or worse."""
    if source == "unseen":
        return unseen_clips(options.data, options.short_side, options.frames, UNSEEN_FRAMES), {}
    if source == "real":
        clips = study_clips(options.data, shots or options.clips, options.short_side, options.frames)
        half = options.frames // 2
        return clips, {
            name: (_cut(video, 0, half), _cut(video, half, 2 * half)) for name, video in clips.items()
        }
    prompts = world_prompts(options.world_clips)
    rendered, other = (world_clips(prompts, seed=seed, side=_WORLD_SIDE) for seed in (0, 1))
    return rendered, {name: (rendered[name], other[name]) for name in rendered}


def _repeated(prompts: list[Prompt], seeds: Iterable[int]) -> dict[str, Video]:
    """Rendered clips of every prompt with every seed."""
    return {
        f"{name}, seed {seed}": clip
        for seed in seeds
        for name, clip in world_clips(prompts, seed=seed, side=_WORLD_SIDE).items()
    }


def _shape(clips: Mapping[str, Video]) -> dict[str, int]:
    video = next(iter(clips.values()))
    return {"short_side": min(video.height, video.width), "frames": video.num_frames}


def benign_metrics() -> tuple[list[str], list[str]]:
    """Metrics on pixels that run by default or have a defect of their own: without and with a network."""
    light, heavy = [], []
    for name, spec in metric_specs().items():
        metric = load_metric(name) if spec.default or name in OWN_METRIC.values() else None
        if metric is None or is_set_metric(metric) or not name.startswith(_GROUPS):
            continue
        if not _at_hand(metric):
            continue
        pixels = {"frames", "luma", "flow", "flow_leap"}
        (light if {item.extractor for item in metric.requires()} <= pixels else heavy).append(name)
    return light, heavy


def _at_hand(metric: ClipMetric) -> bool:
    """Whether the weights of all features are there."""
    try:
        return all(load_extractor(request).spec.id for request in metric.requires())
    except (MissingWeights, MissingExtra):
        return False


def measure_slice(scorer: Scorer) -> list[dict[str, Any]]:
    """A study small enough for every test run: four defects on three rendered clips."""
    clips = world_clips(world_prompts(3), seed=0, side=48, frames=12)
    return [item.to_dict() for item in responses(clips, scorer, only=SLICE, source="world") if _own(item)]


def _own(item: Any) -> bool:
    return OWN_METRIC[item.defect] == item.metric


def _cut(video: Video, first: int, end: int) -> Video:
    return Video(video.frames[first:end].contiguous(), video.fps)


def merge(summary: dict[str, Any], measured: Mapping[str, Any]) -> None:
    """Put a part's result in the place of what was known of it.

    Raises:
        EvalkitError: single defects were measured on other clips than the rest, which one table must not mix.
    """
    for part, about in measured["about"].items():
        before, only = summary.get("about", {}).get(part), about.pop("only", None)
        if not before or not only:
            continue
        # Of harmless changes one source is measured after the other.
        known = before.get("names")
        names = {**known, **about["names"]} if part == "benign" else about.get("names")
        if names != known or any(about.get(key) != before.get(key) for key in ("short_side", "frames")):
            raise EvalkitError(
                f"validity: the record's {part} clips are not the ones chosen now; leave out --only to measure all"
            )
        # The record is still of the run that measured all; what is newer says so itself.
        stamp = {key: about[key] for key in ("date", "commit")}
        about.clear()
        about.update(before)
        if part in ("benign", "sets"):
            about["newer"] = {**before.get("newer", {}), **dict.fromkeys(only, stamp)}
    for name, value in measured.items():
        if name == "benign" and "newer" in measured["about"]["benign"]:
            for source, table in value.items():
                summary[name][source] = {**summary[name].get(source, {}), **table}
        elif name in ("defects", "sets"):
            fresh = {_row(item) for item in value}
            kept = [item for item in summary.get(name, []) if _row(item) not in fresh]
            summary[name] = [*kept, *value]
        elif isinstance(value, dict):
            summary[name] = {**summary.get(name, {}), **value}
        else:
            summary[name] = value


def _row(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a row is about."""
    return item.get("source", ""), item["defect"], item["metric"]


if __name__ == "__main__":
    raise SystemExit(main())
