"""Settings for every test: nothing is reported, downloaded or written into the home folder; one thread each."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# Set while pytest starts, before any test module imports torch, ray, transformers or mlflow.
os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # otherwise a local cluster writes a token file into the home folder
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

# A busy machine is no failure of a property; pytest-timeout ends what hangs.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
