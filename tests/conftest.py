"""Where the fixtures come from."""

import os

# Test processes share the cores: threads of a BLAS or of OpenMP would wait by spinning, each
# process for a core the other one holds. Read when NumPy and torch are loaded, and by the twins.
for _library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

pytest_plugins = ["tests.emulator", "tests.twin", "tests.resources", "tests.voice"]
