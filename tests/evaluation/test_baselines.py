"""The floor and the ceiling: aligned with the recording, and as good as they ought to be."""

import pytest
import torch

from audiodiff.evaluation.baselines import griffin_lim_nnls, pseudo_inverse_true_phase
from audiodiff.evaluation.metrics import log_mel_l1, multi_resolution_stft
from audiodiff.mel import LogMel, MelSpec

SPECS = [
    MelSpec(16000, n_fft=1024, hop_length=256, n_mels=80),
    MelSpec(16000, n_fft=1024, hop_length=256, n_mels=80, center=True),
    MelSpec(16000, n_fft=640, win_length=640, hop_length=160, n_mels=80, power=2.0, log="log10"),
]


def mel_of(spec, waveform):
    whole = waveform[:, : waveform.shape[-1] // spec.hop_length * spec.hop_length]
    return whole[None], LogMel(spec)(whole[None])[..., : whole.shape[-1] // spec.hop_length]


@pytest.mark.parametrize("spec", SPECS, ids=["hifigan", "centred", "log10"])
def test_floor_has_the_mel_and_the_length(spec, waveform):
    whole, mel = mel_of(spec, waveform)
    out = griffin_lim_nnls(spec, mel, 32)
    assert out.shape == whole.shape
    assert log_mel_l1(whole[0, 0], out[0, 0], 16000) < 0.35  # silence would be 4


@pytest.mark.parametrize("spec", SPECS, ids=["hifigan", "centred", "log10"])
def test_floor_is_where_the_recording_is(spec, waveform):
    # The envelope of loudness must not be early or late: frames of librosa stand about other samples than HiFi-GAN's.
    whole, mel = mel_of(spec, waveform)
    loud = [
        torch.nn.functional.avg_pool1d(w.abs(), 257, 1, 128)[0, 0] for w in (whole, griffin_lim_nnls(spec, mel, 32))
    ]
    centred = [v - v.mean() for v in loud]
    lags = range(-400, 401, 20)
    matched = [float((centred[0][400:-400] * centred[1].roll(-lag)[400:-400]).sum()) for lag in lags]
    assert abs(lags[matched.index(max(matched))]) <= 60


def test_ceiling_keeps_the_phase_and_beats_the_floor(waveform):
    spec = SPECS[0]
    whole, mel = mel_of(spec, waveform)
    ceiling = pseudo_inverse_true_phase(spec, mel, whole)
    assert ceiling.shape == whole.shape
    assert float(torch.corrcoef(torch.cat([whole[0], ceiling[0]]))[0, 1]) > 0.9
    distances = [multi_resolution_stft(whole[0, 0], out[0, 0], 16000) for out in (ceiling, griffin_lim_nnls(spec, mel))]
    assert distances[0] < 0.7 * distances[1]
