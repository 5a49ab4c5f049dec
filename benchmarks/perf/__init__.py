"""How fast evalkit is, against peers and against what is possible: `python -m benchmarks.perf --help`."""

import os

# Before anything imports a library that makes threads: every figure is of one thread.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
