"""Simulations behind `docs/explanation/how-we-compare.md`: `python -m benchmarks.statistics`."""
