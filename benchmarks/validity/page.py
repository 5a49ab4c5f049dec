"""The study as a Markdown page, from its summary alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.validity.defects import OWN_METRIC
from benchmarks.validity.people import RATINGS
from benchmarks.validity.shares import CRFS
from evalkit.metrics.registry import metric_specs

__all__ = ["render"]

_JUMPY = (
    "in `actions__5`, animals that move far from one frame to the next, everything jumps anyhow, and one jump more adds "
    "nothing."
)

# Why a row misses its bar where that lies in the nature of the thing; shown only while it does.
_NOTES: Mapping[str, Mapping[str, str]] = {
    "real": {
        **dict.fromkeys(("teleport", "subject_swap", "vanish"), _JUMPY),
        "dropped_frames": (
            "the gap is seen in every shot, but where much moves other transitions are as large, and the stretch that stands "
            "out is another one."
        ),
    },
    "unseen": {},
    "world": {
        "identity_drift": (
            "flow slides over flat colours, so that a flat shape that grows or shrinks leaves a steady change at its "
            "rim; fading, the shape loses contrast, and that change with it. A flat shape that only grows lighter or "
            "darker cannot be told from light."
        ),
        "loop": "what turns through its own symmetry, as a cross does, repeats itself with or without a loop.",
        "dropped_frames": (
            "of a shape that turns or swings to and fro, more missing frames are not a larger jump: it comes back."
        ),
        "vanish": (
            "flow cannot hold on to flat shapes of a few pixels that turn, so that their own motion is taken for change "
            "that is given back; the defect adds little to that."
        ),
        "morph": "a flat background bends without a visible difference, and the metric asks for half of the picture.",
        "cut": "between two flat pictures flow follows anything, so that a half-blended cut counts as followed.",
        "blur_burst": (
            "at 64 pixels crf 18 itself softens the edges of saturated shapes (see the re-encode under harmless "
            "changes), and flat pictures have little else to lose."
        ),
        "banding": "flat colours have no shades that could break into steps: the defect only changes the colours.",
    },
}

# What a row cannot say of itself.
_REMARKS: Mapping[str, str] = {
    "real": (
        "`temporal.seams` was chosen among some thirty formulas on eight of these shots, and `temporal.appearance_drift` on "
        "all of them (docs/design/0005), so that their rows flatter them."
    ),
    "unseen": (
        "Spans that the rows above leave out, of the same footage: what comes after, other shots, and shots too short. "
        "Nothing was chosen on them."
    ),
}

_SOURCES = {
    "real": "Camera footage",
    "unseen": "Camera footage that took no part in choosing",
    "world": "Rendered clips of the reference world",
}
_TWINS = {"real": "the two halves of a shot", "world": "the same prompt rendered with two seeds"}


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def render(summary: Mapping[str, Any]) -> str:
    """The page of a summary; a part that was not measured is left out."""
    seconds = sum(part["cpu_seconds"] for part in summary["about"].values())
    lines = [
        "# Do the metrics see what people see?",
        "",
        f"Written by `python -m benchmarks.validity` from `summary.json`; {seconds:.0f} CPU seconds.",
        "",
        *_measured(summary),
        "",
    ]
    if summary.get("defects"):
        lines += _defects(summary)
    if summary.get("benign"):
        lines += _benign(summary["benign"], summary["about"]["benign"]["names"])
    if summary.get("alignment"):
        lines += _alignment(summary["alignment"])
    if summary.get("prompts"):
        lines += _prompts(summary["prompts"])
    if summary.get("sets"):
        lines += _sets(summary["sets"])
    if summary.get("shares"):
        lines += _shares(summary["shares"])
    if summary.get("people"):
        lines += _people(summary["people"], summary.get("rated_clips", {}))
    else:
        lines += [
            "## People",
            "",
            "The rated clips were not at hand (`EVALKIT_DATA`), so nothing is said here.",
            "",
        ]
    return "\n".join(lines)


def _measured(summary: Mapping[str, Any]) -> Iterator[str]:
    """When, and by which commit, every part was measured, and the rows that are newer than the rest of their part."""
    yield from ("| measured | date | commit |", "|---|---|---|")
    for part, about in summary["about"].items():
        stamp = _stamp(about)
        yield f"| {part} | {' | '.join(stamp)} |"
        newer: dict[tuple[str, str], list[str]] = {}
        for row in summary.get("defects", []):
            if row["source"] == part and _stamp(row.get("measured", about)) != stamp:
                newer.setdefault(_stamp(row["measured"]), []).append(row["defect"])
        for metric, other in about.get("newer", {}).items():
            newer.setdefault(_stamp(other), []).append(f"`{metric}`")
        for other, names in newer.items():
            yield f"| {part}: {', '.join(dict.fromkeys(names))} | {' | '.join(other)} |"


def _stamp(about: Mapping[str, Any]) -> tuple[str, str]:
    return about.get("date", "not recorded"), about.get("commit", "not recorded")


def _defects(summary: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        "## Known defects",
        "",
        (
            "Each defect is made at five strengths on every clip and scored with the metric made for it. *monotone*: "
            "Spearman of strength and median. *paired*: share of clips that the middle strength makes worse. *detected*: "
            "AUC of the change that the middle strength makes against the change that a re-encode at crf 18 makes, with "
            "its 95% interval (clips resampled). *between clips*: AUC of spoilt clips against other, clean clips (by "
            "their worst moment where the defect is local), the harder question. *IoU*: median overlap of the spoilt "
            "frames and the stretch of the series that a two-level step explains best. In italics: a metric that is not "
            "the defect's own. **Bold**: below the bar of .95, .95 and .6."
        ),
        "",
    )
    order = list(OWN_METRIC)
    for source, title in _SOURCES.items():
        rows = [item for item in summary["defects"] if item["source"] == source]
        rows.sort(
            key=lambda item: (order.index(item["defect"]), OWN_METRIC[item["defect"]] != item["metric"])
        )
        if not rows:
            continue
        about = summary["about"][source]
        yield from (
            f"### {title}",
            "",
            (
                f"{len(about['names'])} clips, short side {about['short_side']}, {about['frames']} frames: "
                f"{', '.join(f'`{name}`' for name in about['names'])}."
            ),
            "",
            "| defect | metric | clips | monotone | paired | detected | 95% | between clips | IoU |",
            "|---|---|---|---|---|---|---|---|---|",
        )
        for item in rows:
            own = OWN_METRIC[item["defect"]] == item["metric"]
            name = f"`{item['metric']}`" if own else f"*`{item['metric']}`*"
            low, high = item["intervals"]["detected"]
            yield (
                f"| {item['defect']} | {name} | {item['clips']} | {_barred(item['monotone'], 0.95, '+.2f')} | "
                f"{item['paired']:.2f} | {_barred(item['detected'], 0.95)} | {low:.2f} to {high:.2f} | "
                f"{item['auc']:.2f} | {_barred(item['iou'], 0.6)} |"
            )
        yield ""
        for item in rows:
            note = _NOTES[source].get(item["defect"])
            if note and OWN_METRIC[item["defect"]] == item["metric"] and _misses(item):
                yield from (f"- {item['defect']}: {note}", "")
        if source in _REMARKS:
            yield from (_REMARKS[source], "")
    for name in dict.fromkeys(item["metric"] for item in summary["defects"]):
        yield from (f"![{name}](figures/{name}.svg)", "")


def _misses(item: Mapping[str, Any]) -> bool:
    bars = (("monotone", 0.95), ("detected", 0.95), ("iou", 0.6))
    return any(item[name] is not None and round(item[name], 2) < bar for name, bar in bars)


def _barred(value: float | None, bar: float, form: str = ".2f") -> str:
    if value is None:
        return ""
    # To the digits that are shown: what reads as the bar has met it.
    return f"{value:{form}}" if round(value, 2) >= bar else f"**{value:{form}}**"


def _benign(
    benign: Mapping[str, Mapping[str, Mapping[str, float]]], names: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    specs = metric_specs()
    yield from ("## Harmless changes", "")
    for source, table in benign.items():
        changes = list(dict.fromkeys(name for row in table.values() for name in row if name != "noise"))
        yield from (
            f"### {_SOURCES[source]}",
            "",
            (
                f"{len(names[source])} clips: {', '.join(f'`{name}`' for name in names[source])}. "
                f"*noise*: median absolute difference between {_TWINS[source]}, in the metric's unit. The rest: median "
                "absolute change, in units of that noise; **bold** where a default metric moves by more, with the change "
                "itself in brackets: twins may differ by next to nothing. A dash: not measured."
            ),
            "",
            f"| metric | default | noise | {' | '.join(changes)} |",
            f"|---|---|---|{'---|' * len(changes)}",
        )
        for name, row in table.items():
            default = name in specs and specs[name].default
            cells = [_in_noise(row.get(change), row["noise"], default) for change in changes]
            yield f"| `{name}` | {'yes' if default else ''} | {row['noise']:.3g} | {' | '.join(cells)} |"
        yield ""


def _in_noise(move: float | None, noise: float, default: bool) -> str:
    if move is None:
        return "-"
    if move <= noise:
        return f"{move / noise:.2f}" if noise > 0 else "0.00"
    text = f"{move / noise:.2f} ({move:.2g})" if noise > 0 else f"{move:.2g} absolute"
    return f"**{text}**" if default else text


def _alignment(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from (
        "## Alignment in the reference world",
        "",
        "The embedded encoder on rendered clips, whose prompts are true by construction.",
        "",
        "| task | share | 95% | clips | chance | bar |",
        "|---|---|---|---|---|---|",
    )
    for item in tasks:
        low, high = item["interval"]
        yield (
            f"| {item['task']} | {item['value']:.3f} | {low:.2f} to {high:.2f} | {item['clips']} | "
            f"{item['chance']:.2g} | {_number(item['bar'])} |"
        )
    yield ""


def _prompts(responses: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from (
        "## Metrics of the prompt",
        "",
        (
            "Rendered clips of the core suite, which show what their prompts say. The strength is the share of clips that "
            "are judged by another prompt of the suite, one that promises something else of the metric's own kind. *own*, "
            "*middle*, *other*: means with none, the middle share and all of them judged so. *told apart*: chance that a clip "
            "scores better by its own prompt than another clip by a wrong one, with its 95% interval (clips resampled). "
            "**Bold**: below .95."
        ),
        "",
        "| metric | clips | own | middle | other | monotone | told apart | 95% |",
        "|---|---|---|---|---|---|---|---|",
    )
    for item in responses:
        values, (low, high) = item["values"], item["interval"]
        yield (
            f"| `{item['metric']}` | {item['clips']} | {values[0]:.3g} | {values[3]:.3g} | {values[-1]:.3g} | "
            f"{_barred(item['monotone'], 0.95, '+.2f')} | {_barred(item['auc'], 0.95)} | {low:.2f} to {high:.2f} |"
        )
    yield from (
        "",
        (
            "What goes by an encoder of photographs (`conse`, the default of retrieval) hardly tells flat shapes apart; "
            "`encoder=world` does, and is for clips of the reference world alone."
        ),
        "",
    )
    for name in dict.fromkeys(item["metric"].partition(":")[0] for item in responses):
        yield from (f"![{name}](figures/{name}.svg)", "")


def _sets(responses: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from (
        "## Sets of clips",
        "",
        (
            "Rendered clips against as many others of the same prompts. The strength is the share of clips that are all the same one (*collapse*) or cut into tiles in another order (*scramble*); a defect of "
            "clips is on every clip. *re-encode*: the clean set at crf 18. *monotone*: Spearman of strength and value, in "
            "brackets the least and largest with a tenth of the clips left out. **Bold**: below .95."
        ),
        "",
        "| metric | defect | clips | clean | re-encode | middle | full | monotone |",
        "|---|---|---|---|---|---|---|---|",
    )
    for item in responses:
        values, (low, high) = item["values"], item["interval"]
        yield (
            f"| `{item['metric']}` | {item['defect']} | {item['clips']} | {values[0]:.4g} | {item['harmless']:.4g} | {values[3]:.4g} | "
            f"{values[-1]:.4g} | {_barred(item['monotone'], 0.95, '+.2f')} ({low:+.2f} to {high:+.2f}) |"
        )
    yield ""
    for item in responses:
        yield from (f"![{item['metric']}](figures/{item['metric']}.svg)", "")


def _shares(responses: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from (
        "## Shares of bits and of clips",
        "",
        (
            "Means over clips. *re-encoded*: clips of LaVie that `invisible-watermark` has marked by `dwtDctSvd`, at crf "
            f"{', '.join(str(crf) for crf in CRFS)}. *faded*: of the mark's own difference from the picture that share is "
            "taken away. *slowed*: of the camera shots above as many frames show that share less of their time, until they "
            "stand still. *without*: the same clips without any mark. *monotone*: Spearman of strength and mean, with its "
            "95% interval (clips resampled). **Bold**: below .95."
        ),
        "",
        "| metric | defect | clips | clean | 0.2 | 0.4 | 0.6 | 0.8 | 1 | without | monotone | 95% |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    )
    for item in responses:
        shown, (low, high) = " | ".join(f"{value:.2f}" for value in item["values"]), item["interval"]
        yield (
            f"| `{item['metric']}` | {item['defect']} | {item['clips']} | {shown} | {_number(item['without'])} | "
            f"{_barred(item['monotone'], 0.95, '+.2f')} | {low:+.2f} to {high:+.2f} |"
        )
    yield ""
    for name in dict.fromkeys(item["metric"] for item in responses):
        yield from (f"![{name}](figures/{name}.svg)", "")


def _people(
    agreements: Sequence[Mapping[str, Any]], clips: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[str]:
    yield from ("## People", "")
    for rating, (_, _, raters) in RATINGS.items():
        rows = [item for item in agreements if item["rating"] == rating]
        if not rows:
            continue
        title = rating.replace("_", " ")
        yield from (
            f"### {title.capitalize()}",
            "",
            (
                f"{rows[0]['clips'] + rows[0]['not_scored']} clips of {rows[0]['prompts']} prompts, mean of three "
                f"raters, who agree with each other at an ordinal alpha of {raters:.3f}. Positive: the metric agrees. "
                "The interval resamples prompts."
            ),
            "",
            "| metric | Spearman | 95% | Kendall | generated clips only | not scored |",
            "|---|---|---|---|---|---|",
        )
        for item in rows:
            low, high = item["interval"]
            yield (
                f"| `{item['metric']}` | {item['spearman']:+.3f} | {low:+.2f} to {high:+.2f} | "
                f"{item['kendall']:+.3f} | {item['generated']:+.3f} | {item['not_scored']} |"
            )
        yield from ("", f"![{title}](figures/people-{rating}.svg)", "")
        yield from _kinship(clips.get(rating, []))


def _kinship(table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why noise agrees with people the wrong way round: it goes with sharpness."""
    pair = ("visual.noise", "visual.sharpness")
    rows = [row for row in table if all(row.get(name) is not None for name in pair)]
    if not rows:
        return
    together = spearmanr(*([row[name] for row in rows] for name in pair)).statistic
    means = {
        model: float(np.mean([row[pair[0]] for row in rows if row["model"] == model]))
        for model in sorted({row["model"] for row in rows})
    }
    shown = ", ".join(
        f"{model} {mean:.2f}" for model, mean in sorted(means.items(), key=lambda item: item[1])
    )
    yield from (
        (
            f"`visual.noise` runs against people because it goes with sharpness here (Spearman {together:+.2f} over these "
            f"clips): fine texture and the dither of the GIFs that they are stored as look like grain, and models that "
            f"smear have none of either (mean levels: {shown}; gt is camera footage). It measures grain that was added, "
            "not how good a picture is; compare it on equal prompts, beside sharpness."
        ),
        "",
    )
