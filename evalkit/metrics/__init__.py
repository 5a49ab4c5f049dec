"""Metrics: pure maths in `functional`, thin adapters with a `MetricSpec` around it."""
