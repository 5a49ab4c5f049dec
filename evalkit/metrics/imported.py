"""Metrics whose values come from a peer's own result files; asked to compute, they say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evalkit.errors import MissingWeights
from evalkit.metrics.base import BaseMetric
from evalkit.metrics.peers import PEERS, PeerMetric
from evalkit.metrics.spec import ClipScore, MetricSpec

if TYPE_CHECKING:
    from evalkit.features.protocol import ClipFeatures

__all__ = ["Imported"]

_BENCHMARKS = {
    "vbench": ("VBench", "Huang et al., VBench, CVPR 2024; Vchitect/VBench, release 0.1.5"),
    "evalcrafter": ("EvalCrafter", "Liu et al., EvalCrafter, CVPR 2024; code commit 1275bda"),
    "compbench": ("T2V-CompBench", "Sun et al., T2V-CompBench, CVPR 2025; code commit 47622f5"),
}


class Imported(BaseMetric):
    """Skipped wherever no value was imported."""

    def score(self, clip: ClipFeatures) -> ClipScore:
        """Say what it needs.

        Raises:
            MissingWeights: always.
        """
        peer = _BENCHMARKS[self.spec.id.partition(".")[0]][0]
        layout = "t2v-compbench" if peer == "T2V-CompBench" else peer.lower()
        raise MissingWeights(
            f"{self.spec.id} needs {PEERS[self.spec.id].needs}, which evalkit does not run: run {peer} itself on `evalkit "
            f"export RUN --layout {layout} --out FOLDER` and add its result with `evalkit metrics import RUN FILE`"
        )


def _spec(name: str, peer: PeerMetric) -> MetricSpec:
    benchmark, citation = _BENCHMARKS[name.partition(".")[0]]
    return MetricSpec(
        id=name,
        version="1",
        title=peer.title,
        description=peer.description,
        direction="higher" if peer.higher else "lower",
        range=(0.0, 1.0) if benchmark == "VBench" else (None, None),
        formula=f"{peer.formula}; by {peer.needs}",
        limits=f"Import only: evalkit does not run {peer.needs}. Values are {benchmark}'s own.",
        citation=citation,
        default=False,
    )


_CLASSES = {name: type("Imported", (Imported,), {"spec": _spec(name, peer)}) for name, peer in PEERS.items()}


def __getattr__(name: str) -> Any:
    """The class of a metric by its id, as the registry asks for it."""
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _CLASSES[name]
