"""The self-test on real clips: spoil the candidate's clips, score them again, and let the gate judge them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.errors import EvalkitError, EvidenceError, NotApplicable
from evalkit.gate.evidence import Evidence
from evalkit.gate.policy import Policy
from evalkit.gate.run import judge
from evalkit.runs.store import Run
from evalkit.stats.margins import Verdict

if TYPE_CHECKING:
    from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
    from evalkit.video import Video

__all__ = ["DefectSeen", "SpoiledRun", "spoil_clips", "spoil_run"]


class DefectSeen(NamedTuple):
    """One defect injected into every clip, the checks that turned red, and the gate's exit code."""

    defect: str
    strength: float
    verdict: str
    exit_code: int
    red: tuple[str, ...]


class SpoiledRun:
    """A model that returns the clips of a finished run with a known defect.

    Args:
        run: with its clips.
        defect: id in `evalkit.testing.defects.DEFECTS`.
        strength: above 0, up to 1.
    """

    def __init__(self, run: Run, defect: str, strength: float) -> None:
        self.run, self.defect, self.strength = run, defect, strength

    @property
    def info(self) -> ModelInfo:
        from evalkit.models.protocol import ModelInfo

        record = self.run.manifest.model
        return ModelInfo(
            id=f"{record.id} with {self.defect}",
            revision=record.revision,
            weights=record.weights,
            config={
                **record.config,
                "defect": self.defect,
                "strength": self.strength,
                "run": self.run.manifest.run_id,
            },
            licence=record.licence,
            defaults=self._shape(),
            own_shape=True,
        )

    def _shape(self) -> dict[str, object]:
        rows = self.run.generations
        row = rows[rows["status"] == "ok"].iloc[0]
        return {
            "num_frames": int(row["num_frames"]),
            "height": int(row["height"]),
            "width": int(row["width"]),
            "fps": str(row["fps"]),
        }

    @property
    def ignored_params(self) -> frozenset[str]:
        return frozenset()

    def load(self, device: str) -> None:
        """Nothing to load."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Decode the run's clips and spoil them; the seed of the clip decides where."""
        from evalkit.models.protocol import GenerationFailure
        from evalkit.testing.defects import apply_defect
        from evalkit.video import decode

        rows = {
            (row["prompt_id"], row["sample_index"]): row for row in self.run.generations.to_dict("records")
        }
        clips: list[Video | GenerationFailure] = []
        for request in requests:
            row = rows[request.prompt_id, request.sample_index]
            if row["status"] != "ok" or row["path"] is None:
                clips.append(GenerationFailure(f"the run has no clip of this prompt: {row['error']}"))
                continue
            video = decode(self.run.path_of(row["path"]))
            try:
                clips.append(apply_defect(self.defect, video, self.strength, seed=request.seed).video)
            except NotApplicable as reason:
                clips.append(GenerationFailure(str(reason)))
        return clips


def spoil_run(run: Run, defect: str, strength: float, out: Path, metrics: Sequence[str] | None = None) -> Run:
    """Write a run whose clips have a defect, scored with the same metrics.

    Args:
        run: with its clips.
        defect: id of the defect.
        strength: above 0, up to 1.
        out: folder of the new run.
        metrics: default: all that the run has.

    Raises:
        EvidenceError: the run has no clips (a baseline has none).
    """
    from evalkit.engine.run import run_model

    paths = run.generations["path"].dropna()
    if paths.empty or not run.path_of(str(paths.iloc[0])).is_file():
        raise EvidenceError(f"{run.folder} holds no clips; the self-test on clips needs a run with its clips")
    records = [record for record in run.manifest.metrics if metrics is None or record.id in metrics]
    strings = [_spec_string(record.id, dict(record.params)) for record in records]
    reference = run.manifest.reference
    return run_model(
        run.suite,
        SpoiledRun(run, defect, strength),
        out,
        samples=int(run.generations["sample_index"].max()) + 1,
        seed=int(run.manifest.settings.get("seed", 0)),
        metrics=strings,
        reference=Path(reference["path"]) if reference else None,
        workers=0,
        command=["evalkit", "gate", "selftest", "--defect", f"{defect}={strength:g}"],
    )


def _spec_string(metric_id: str, params: dict[str, object]) -> str:
    values = ",".join(f"{name}={json.dumps(value)}" for name, value in params.items())
    return f"{metric_id}:{values}" if values else metric_id


def spoil_clips(
    policy: Policy, evidence: Evidence, defects: Sequence[tuple[str, float]], out: Path, today: datetime.date
) -> list[DefectSeen]:
    """Judge one spoiled copy of the candidate per defect.

    Args:
        policy: whose checks must turn red.
        evidence: candidate with clips, and baseline.
        defects: (id, strength).
        out: folder for the spoiled runs.
        today: as for `judge`.
    """
    held = [record.id for record in evidence.candidate.manifest.metrics if not record.id.startswith("cost.")]
    # Costs and regression cases are of no concern to a degraded copy of the clips.
    checks = tuple(check for check in policy.checks if getattr(check, "metric", "") in held)
    wanted = sorted({str(getattr(check, "metric", "")) for check in checks})
    if not wanted:
        raise EvalkitError("no check of the policy has a metric of clips that the run was scored with")
    narrowed = replace(policy, checks=checks)
    found = []
    for defect, strength in defects:
        spoiled = spoil_run(evidence.candidate, defect, strength, out / f"{defect}-{strength:g}", wanted)
        result = judge(narrowed, replace(evidence, candidate=spoiled), (), today)
        red = tuple(check.id for check in result.results if check.verdict is Verdict.REGRESS)
        found.append(
            DefectSeen(defect, strength, result.conclusion.verdict, result.conclusion.exit_code, red)
        )
    return found
