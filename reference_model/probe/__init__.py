"""The analytic probe of the reference world: judges clips by their pixels, never by their prompt."""

from reference_model.probe.judge import ObjectTrack, Observation, agrees, observe

__all__ = ["ObjectTrack", "Observation", "agrees", "observe"]
