"""`python -m benchmarks.control --model MODEL --out FOLDER`: does the model obey its controls?

Every arm of every study is a run folder of its own, so that the command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.control.definition import SHIPPED, Study, load_definition
from benchmarks.control.measure import Outcome, Sight, measure
from benchmarks.control.page import render
from evalkit.canonical import content_digest
from evalkit.engine.run import make_executor, run_model
from evalkit.errors import EvalkitError
from evalkit.models import load_model
from evalkit.runs.store import Run

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the studies; writes results.json and index.md. Exit code 1 when a study turned out contrary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control", description=__doc__)
    parser.add_argument("--model", required=True, help="as for `evalkit run`, e.g. reference or http:URL")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the runs, results.json and index.md"
    )
    parser.add_argument(
        "--definition",
        default="world",
        help=f"{' or '.join(SHIPPED)}, or a file (default: %(default)s, for the reference world)",
    )
    parser.add_argument("--only", nargs="*", help="studies to run (default: all)")
    parser.add_argument("--limit", type=int, default=8, help="prompts a study (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--workers", type=int, default=0, help="worker processes (default: this process only)"
    )
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except EvalkitError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    definition = load_definition(options.definition)
    unknown = sorted(set(options.only or ()) - set(definition.studies))
    if unknown:
        raise EvalkitError(f"no study {unknown[0]!r}; studies: {', '.join(definition.studies)}")
    sight = Sight(definition.encoder)
    outcomes: list[Outcome] = []
    info = load_model(options.model).info
    # Other weights, or settings, under the same name get folders of their own, so that no arm is compared with another model's.
    digest = content_digest(
        {
            "id": info.id,
            "revision": info.revision,
            "weights": dict(info.weights),
            "config": dict(info.config),
        }
    )[:12]
    for name in options.only or definition.studies:
        study = definition.studies[name]
        runs = {arm: _arm(name, study, arm, options, digest) for arm in study.arms}
        found = measure(name, study, runs, sight, options.limit)
        for item in found:
            print(f"{name}: {item.value} {item.estimate} {item.verdict or item.reason}", file=sys.stderr)
        outcomes += found
    about = {
        "model": info.id,
        "revision": info.revision,
        "date": datetime.now(UTC).date().isoformat(),
        "digest": digest,
        "weights": dict(info.weights),
        "definition": options.definition,
        "encoder": definition.encoder,
        "encoder_digest": sight.digest,
        "command": f"python -m benchmarks.control --model {options.model} --definition {options.definition} "
        f"--limit {options.limit} --seed {options.seed}",
    }
    results = {"about": about, "outcomes": [item.to_dict() for item in outcomes]}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = options.out / "index.md"
    page.write_text(render(definition, outcomes, about), encoding="utf-8")
    print(page)
    return int(any(item.verdict == "contrary" for item in outcomes))


def _arm(name: str, study: Study, arm: str, options: argparse.Namespace, digest: str) -> Run:
    metrics = [value for value in study.values if value not in ("alignment", "contrast")]
    asked = study.arms[arm]
    return run_model(
        study.suite_of(name, asked, options.limit),
        load_model(options.model),
        options.out / "runs" / digest / name / arm,
        samples=study.samples,
        seed=options.seed,
        overrides=asked.set,
        metrics=metrics,
        executor=make_executor("local", options.workers),
        device=options.device,
        score=bool(metrics),
        command=["python", "-m", "benchmarks.control", *sys.argv[1:]],
    )


if __name__ == "__main__":
    raise SystemExit(main())
