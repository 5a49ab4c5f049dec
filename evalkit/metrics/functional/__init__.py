"""Metrics as pure functions on tensors: no files, no state, no global randomness."""
