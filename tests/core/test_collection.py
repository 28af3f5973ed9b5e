"""The collected tests depend only on the files, since the workers of a run must agree on them."""

import os
import subprocess
import sys
import time

import pytest

from tests.fast_lane import COLLECTED


@pytest.mark.slow
def test_ids_and_order_are_the_same_in_another_process_at_another_time(request):
    config = request.config
    here = config.stash[COLLECTED]
    time.sleep(1.1)  # so that a time stamp in seconds differs
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *config.args],
        cwd=config.invocation_params.dir,
        env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if "::" in line] == here
