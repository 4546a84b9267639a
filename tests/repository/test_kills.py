"""Kill -9 at random moments: nothing is lost, nothing half-written, nothing hangs; `-s` prints the counts.

`python -m pytest -m slow tests/repository/test_kills.py -s --kills 100` is what is reported.
"""

import json
import sys

import pytest
from support.processes import python

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")]


@pytest.mark.parametrize("work", ["training", "saving", "sharding", "batch", "search"])
def test_work_that_is_killed_at_any_moment_goes_on(tmp_path, work, request):
    for name in {"sharding": ["litdata"], "search": ["optuna"]}.get(work, []):
        pytest.importorskip(name)
    kills = request.config.getoption("--kills")
    done = python("-m", "support.killing", work, tmp_path / work, kills, 0, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{work}: {counts}")
    assert counts["kills"] == kills
    assert counts["half-written"] == []
    assert counts["lost"] == []
    assert counts["hangs"] == 0
