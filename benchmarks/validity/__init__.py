"""Do the metrics see what people see? `python -m benchmarks.validity --out FOLDER` answers with numbers."""
