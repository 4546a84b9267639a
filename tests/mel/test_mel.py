"""The mel front end against librosa, and the maps between mels, bands and bins."""

import math

import numpy as np
import pytest
import torch

from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import band_weights, mel_filters
from audiodiff.mel.magnitudes import mean_magnitudes
from audiodiff.utils.numba_cache import librosa

SPEC = MelSpec(16000)
# fields of librosa's melspectrogram that a spec says in other words
HTK = {"htk": True, "slaney": False}
NORM = {"slaney": "slaney", "none": None}


def noise(n, seed=0, dtype=torch.float64):
    """Noise that falls by 12 dB an octave from 100 Hz on, so that bands differ by 60 dB."""
    white = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frequencies = torch.linspace(0, 8000, n // 2 + 1, dtype=torch.float64)
    coloured = torch.fft.irfft(torch.fft.rfft(white) / (1 + (frequencies / 100) ** 2), n=n)
    return (0.3 * coloured / coloured.abs().max()).to(dtype)[None, None]


def librosa_log_mel(spec, waveform):
    samples = waveform[0, 0].numpy()
    if not spec.center:
        mode = "reflect" if spec.pad_mode == "reflect" else "constant"
        samples = np.pad(samples, spec.padding, mode=mode)
    bands = librosa().feature.melspectrogram(
        y=samples,
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        window="hann",
        center=spec.center,
        pad_mode=spec.pad_mode,
        power=spec.power,
        n_mels=spec.n_mels,
        fmin=spec.f_min,
        fmax=spec.f_max,
        htk=HTK[spec.scale],
        norm=NORM[spec.norm],
        dtype=samples.dtype,
    )
    unit = np.log if spec.log == "ln" else np.log10
    return torch.from_numpy(unit(np.maximum(bands, spec.floor)))


CONTRACTS = {
    "default": {},
    "htk": {"scale": "htk"},
    "no norm": {"norm": "none"},
    "htk, no norm": {"scale": "htk", "norm": "none"},
    "power": {"power": 2.0},
    "centred": {"center": True},
    "centred, zeros": {"center": True, "pad_mode": "constant"},
    "zeros": {"pad_mode": "constant"},
    "short window": {"win_length": 800, "hop_length": 200},
    "short odd window, centred": {"win_length": 801, "hop_length": 100, "center": True, "power": 2.0},
    "log10": {"log": "log10"},
    "log10, htk, power": {"log": "log10", "scale": "htk", "power": 2.0, "floor": 1e-10},
    "narrow": {"f_min": 80.0, "f_max": 7600.0, "n_mels": 64},
    "high rate": {
        "sample_rate": 44100,
        "n_fft": 2048,
        "win_length": 2048,
        "hop_length": 441,
        "n_mels": 128,
        "f_max": 22050.0,
    },
    "Whisper": {"n_fft": 400, "win_length": 400, "hop_length": 160, "center": True, "power": 2.0, "log": "log10"},
}
every_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)


@every_contract
def test_mel_equals_that_of_librosa(contract):
    spec, waveform = MelSpec(**{"sample_rate": 16000, **contract}), noise(8000)
    ours, theirs = LogMel(spec)(waveform)[0], librosa_log_mel(spec, waveform)
    assert ours.shape == theirs.shape
    assert ours.dtype == torch.float64
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)  # float64; the two compute filters by other formulae
    assert bool((ours > math.log(spec.floor) / spec._log_unit + 1e-6).float().mean() > 0.5)  # not all at the floor


@every_contract
def test_mel_in_float32_is_near_where_it_is_above_its_floor(contract):
    spec, waveform = MelSpec(**{"sample_rate": 16000, **contract}), noise(8000, dtype=torch.float32)
    ours, theirs = LogMel(spec)(waveform)[0], librosa_log_mel(spec, waveform.double())
    above = theirs > math.log(spec.floor) / spec._log_unit + 1e-6
    assert ours.dtype == torch.float32
    assert bool(above.any())
    assert float((ours - theirs)[above].abs().max()) < 1e-3


@pytest.mark.parametrize("hop", [160, 256, 300, 441])
@pytest.mark.parametrize("length", [1999, 2000, 2646, 2560])
def test_mel_frames_are_counted_as_promised(hop, length):
    waveform = noise(length)
    for center, frames in ((False, length // hop), (True, length // hop + 1)):
        spec = MelSpec(16000, hop_length=hop, center=center)
        assert LogMel(spec)(waveform).shape == (1, 80, frames)


def test_mel_treats_each_clip_of_a_batch_alone():
    clips = torch.cat([noise(4000, seed) for seed in range(3)])
    assert torch.allclose(LogMel(SPEC)(clips)[1:2], LogMel(SPEC)(clips[1:2]), atol=1e-12)


def test_mel_of_silence_lies_at_the_floor():
    for spec in (SPEC, MelSpec(16000, log="log10", floor=1e-10, power=2.0)):
        floor = math.log(spec.floor) if spec.log == "ln" else math.log10(spec.floor)
        assert torch.allclose(LogMel(spec)(torch.zeros(1, 1, 4000).double()), torch.tensor(floor, dtype=torch.float64))


@pytest.mark.parametrize(
    ("contract", "needed"),
    [
        ({}, 385),  # half of 1024 - 256, and one sample to reflect at
        ({"center": True}, 513),
        ({"n_fft": 512, "win_length": 512, "hop_length": 300}, 300),  # fewer do not fill one frame
        ({"pad_mode": "constant"}, 256),
        ({"pad_mode": "constant", "win_length": 800, "hop_length": 200}, 200),
        ({"pad_mode": "constant", "center": True}, 1),
    ],
)
def test_mel_refuses_a_waveform_that_is_too_short(contract, needed):
    mel = LogMel(MelSpec(16000, **contract))
    assert mel(noise(1000)[..., :needed]).shape[-1] >= 1
    with pytest.raises(ValueError, match=rf"{needed - 1} samples .* at least {needed} are needed.*longer"):
        mel(noise(1000)[..., : needed - 1])


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"hop_length": 0}, "hop_length"),
        ({"hop_length": 1025}, "hop_length"),
        ({"hop_length": 600, "win_length": 512}, "hop_length"),
        ({"win_length": 2048}, "win_length"),
        ({"f_max": 8001.0}, "f_max must be above f_min and at most 8000"),
        ({"f_min": 8000.0}, "f_max"),
        ({"f_min": -1.0}, "f_max"),
        ({"n_mels": 0}, "n_mels"),
        ({"n_mels": 513}, "n_mels"),
        ({"scale": "bark"}, "scale"),
        ({"norm": "l2"}, "norm"),
        ({"pad_mode": "replicate"}, "pad_mode"),
        ({"log": "log2"}, "log must be"),
        ({"power": 0.0}, "power"),
        ({"floor": 0.0}, "floor"),
        ({"floor": -1e-5}, "floor"),
    ],
)
def test_mel_spec_refuses_contradictions(wrong, rule):
    with pytest.raises(ValueError, match=rule):
        MelSpec(16000, **wrong)


def test_mel_spec_accepts_its_limits():
    MelSpec(16000, hop_length=1024, n_mels=512, f_min=0.0, f_max=8000.0)
    MelSpec(16000, hop_length=1, win_length=1, n_mels=1)


@every_contract
def test_mel_expand_inverts_compress(contract):
    spec = MelSpec(**{"sample_rate": 16000, **contract})
    magnitudes = torch.tensor([1e-2, 0.5, 1.0, 30.0], dtype=torch.float64)
    assert torch.allclose(spec.expand(spec.compress(magnitudes**spec.power)), magnitudes, rtol=1e-12)
    mel, louder = (spec.compress(m**spec.power)[:, None] for m in (magnitudes, 3 * magnitudes))
    ratio = spec.log_ratio(louder, mel)
    assert torch.allclose(ratio, torch.tensor(math.log(3), dtype=torch.float64))


@every_contract
def test_mel_magnitudes_of_a_flat_spectrum_are_flat(contract):
    spec = MelSpec(**{"sample_rate": 16000, **contract})
    filters = mel_filters(spec, torch.zeros(1).double())
    mel = spec.compress(((0.7**spec.power) * filters.sum(0)).clamp(min=1e-300))[None, :, None]
    heard = filters.sum(0) * 0.7**spec.power > spec.floor  # some narrow low bands hold no bin
    assert torch.allclose(mean_magnitudes(spec, mel)[0, 0][heard], torch.tensor(0.7, dtype=torch.float64), rtol=1e-9)
    assert int(heard.sum()) > 0.9 * spec.n_mels


def test_mel_magnitudes_are_finite_where_a_band_holds_no_bin():
    # 62.5 Hz from bin to bin, 25 Hz from band to band at the bottom
    spec = MelSpec(16000, n_fft=256, win_length=256, hop_length=64, n_mels=120)
    mel = LogMel(spec)(noise(1280))
    assert bool((mel_filters(spec, mel).sum(0) == 0).any())
    assert bool(mean_magnitudes(spec, mel).isfinite().all())


@every_contract
def test_mel_band_weights_spread_without_gain(contract):
    spec = MelSpec(**{"sample_rate": 16000, **contract})
    weights = band_weights(spec, 128, spec.sample_rate / 256, 0.5, torch.zeros(1).double())
    assert weights.shape == (spec.n_mels, 128)
    assert bool((weights >= 0).all())
    assert torch.allclose(weights.sum(0), torch.ones(128).double(), atol=1e-12)
    assert int((weights > 0).sum(0).max()) <= 2  # triangles: between two neighbours
    narrow = band_weights(spec, 128, spec.sample_rate / 256, 0.5, torch.zeros(1))
    assert torch.equal(narrow, weights.float())


def test_mel_band_weights_follow_the_frequency():
    # Bin k lies at (k + offset) spacing Hz: linear below 1 kHz on Slaney's scale, 200/3 Hz per mel.
    spec = MelSpec(16000, n_mels=14, f_max=1000.0)  # edges at 0, 66.7, …, 1000 Hz
    like, step = torch.zeros(1).double(), 1000 / 15
    at_centres = band_weights(spec, 14, step, 1.0, like)
    assert torch.allclose(at_centres, torch.eye(14).double(), atol=1e-12)
    halfway = band_weights(spec, 14, step, 1.25, like)
    assert torch.allclose(halfway.diagonal()[:-1], torch.tensor(0.75, dtype=torch.float64))
    assert torch.allclose(halfway.diagonal(-1), torch.tensor(0.25, dtype=torch.float64))
    beyond = band_weights(spec, 40, step, 0.0, like)  # below the first centre and above the last
    assert beyond[0, 0] == 1
    assert bool((beyond[-1, 14:] == 1).all())


@every_contract
def test_mel_spec_inverts_its_stft(contract):
    spec = MelSpec(**{"sample_rate": 16000, **contract})
    waveform = noise(20 * spec.hop_length)[0]
    spectrum = spec.stft(waveform)
    back = spec.istft(spectrum)
    assert back.shape[-1] == spectrum.shape[1] * spec.hop_length
    assert torch.allclose(back[:, : waveform.shape[-1]], waveform, atol=1e-9)  # float64


def test_mel_front_end_is_differentiable():
    waveform = noise(2560).requires_grad_()
    LogMel(MelSpec(16000, power=2.0))(waveform).sum().backward()
    assert bool(waveform.grad.isfinite().all())
    assert bool((waveform.grad != 0).any())


def test_filters_of_an_odd_transform_lie_at_its_own_frequencies():
    spec = MelSpec(16000, n_fft=321, win_length=321, hop_length=160, n_mels=40)
    wanted = librosa().filters.mel(sr=16000, n_fft=321, n_mels=40, fmax=8000)
    assert np.abs(mel_filters(spec, torch.zeros(1)).T.numpy() - wanted).max() < 1e-6
