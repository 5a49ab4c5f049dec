"""Shipped helpers for tests: conformance suites and known degradations of a clip."""
