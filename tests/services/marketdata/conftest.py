"""Real data for tests: SHARED_DATA, which a user's machine may lack and CI may not."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("SHARED_DATA", "../shared/data"))
    if not folder.is_dir():
        reason = f"no real market data at {folder}: set SHARED_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
