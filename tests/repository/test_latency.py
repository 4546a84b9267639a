"""demos/benchmarks/latency.py times streams, and says what they wait for."""

import csv
from pathlib import Path

import pytest
from support.tree import load_script


def test_latency_tells_delay_factor_and_first_sample_of_a_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, table = load_script("demos/benchmarks/latency.py"), tmp_path / "table.csv"
    monkeypatch.setattr(script, "CHUNKS_MS", (20, 40))
    monkeypatch.setattr(script, "SECONDS", 0.6)
    script.main(["speech-24k-live", "--threads", "1", "--table", str(table)])
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["chunk, ms"] for row in rows] == ["21.3", "42.7"]
    frame = 1000 * 256 / 24000
    for row in rows:
        assert row["delay, ms"] == "96"
        assert float(row["first sample, ms"]) >= 96 - 2 * frame  # none before its frames have arrived
        assert 0 < float(row["real-time factor, median"]) <= float(row["99th percentile"])


def test_latency_says_when_a_fresh_process_gives_no_sample() -> None:
    script = load_script("demos/benchmarks/latency.py")
    with pytest.raises(RuntimeError, match="without a sample"):
        script.cold_first_sample("no-such-model", 100)
