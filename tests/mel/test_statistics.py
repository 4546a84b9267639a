"""The Gaussian of log-mel frames survives being written, and nothing else is read as one."""

import torch

from audiodiff.mel import MelSpec
from audiodiff.mel.statistics import MelStatistics


def test_statistics_survive_being_written():
    mels = [torch.randn(80, 200, generator=torch.Generator().manual_seed(seed)) - 5 for seed in range(3)]
    statistics = MelStatistics.of(mels, MelSpec(16000))
    read = MelStatistics.from_dict(statistics.to_dict(), 80)
    assert torch.allclose(read.frame_mean, torch.cat(mels, 1).mean(1), atol=1e-3)
    assert torch.allclose(read.covariance, torch.cat(mels, 1).cov(), atol=1e-3)
    fields = statistics.to_dict()
    for wrong in (
        None,
        [],
        {"frame_mean": [1.0]},
        fields | {"covariance": [[1.0]]},
        fields | {"frame_mean": ["x"] * 80},
    ):
        assert MelStatistics.from_dict(wrong, 80) is None
    assert MelStatistics.from_dict(fields, 100) is None
