"""Priors: exact inverses, and noise of the announced shape."""

import math

import pytest
import torch

from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import mel_filters
from audiodiff.models.whitening import Identity, MelWhitening, PowerMDCT

SPEC = MelSpec(16000, power=2.0)  # the mean of energies is exact for noise; the mean of magnitudes is 0.886 of the rms
RAYLEIGH = math.sqrt(math.pi) / 2  # mean magnitude of complex Gaussian noise of unit power


def white(n, seed=0):
    return torch.randn(1, 1, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coloured(n):
    """Stationary noise that falls by 40 dB from 0 to 8 kHz."""
    falling = 10 ** (-2 * torch.linspace(0, 1, n // 2 + 1, dtype=torch.float64))
    return 0.3 * torch.fft.irfft(torch.fft.rfft(white(n)) * falling, n=n)


def band_levels(x, n_bands=8):
    """Standard deviations in bands of equal width."""
    power = torch.fft.rfft(x[0, 0]).abs().square()[1:-1]
    return power[: len(power) // n_bands * n_bands].view(n_bands, -1).mean(1).sqrt() / x.shape[-1] ** 0.5


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("rate", "hop", "block"), [(16000, 256, 128), (16000, 256, 256), (44100, 441, 147)])
@pytest.mark.parametrize("center", [True, False])
def test_prior_is_inverted_exactly(exponent, rate, hop, block, center):
    spec = MelSpec(rate, n_fft=2048, win_length=2048, hop_length=hop, center=center)
    waveform = coloured(20 * hop)
    mel = LogMel(spec)(waveform)[..., :20]
    whitening = MelWhitening(spec, exponent, block, scale=0.2)
    shape = whitening.gains(mel)
    assert shape.shape == (1, 1, 20 * hop // block, block)
    x = whitening.encode(waveform, shape)
    assert x.shape == waveform.shape
    assert torch.allclose(whitening.decode(x, shape), waveform, atol=1e-12)  # float64
    assert torch.allclose(whitening.encode(whitening.decode(x, shape), shape), x, atol=1e-10)  # gains down to 1e-5


def test_prior_identity_divides_by_its_scale():
    whitening, waveform = Identity(0.2), white(1000)
    shape = whitening.gains(torch.zeros(1, 80, 4))
    assert torch.allclose(whitening.encode(waveform, shape), waveform / 0.2, rtol=1e-6)  # the scale is float32 here
    assert torch.allclose(whitening.decode(whitening.encode(waveform, shape), shape), waveform)
    assert torch.equal(Identity().encode(waveform, Identity().gains(waveform)), waveform)


def test_prior_of_exponent_zero_leaves_the_waveform():
    waveform = coloured(5120)
    whitening = MelWhitening(SPEC, 0.0, scale=0.2)
    assert torch.allclose(
        whitening.encode(waveform, whitening.gains(LogMel(SPEC)(waveform))), waveform / 0.2, atol=1e-12
    )


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("level", [0.3, 0.01])
@pytest.mark.parametrize(
    ("contract", "bias"),
    [
        ({"power": 2.0}, 1.0),
        ({"power": 1.0}, RAYLEIGH),
        ({"power": 2.0, "win_length": 512}, 1.0),
        ({"log": "log10"}, RAYLEIGH),
    ],
)
def test_prior_knows_the_level_of_white_noise(exponent, level, contract, bias):
    spec, waveform = MelSpec(16000, **{"floor": 1e-12, **contract}), level * white(256 * 400)
    mels = LogMel(spec)(waveform)
    bands = spec.expand(mels) ** spec.power
    mel = spec.compress(bands.mean(-1, keepdim=True)).expand_as(mels)  # what is known of stationary noise
    whitening = MelWhitening(spec, exponent, scale=0.5)
    x = whitening.encode(waveform, whitening.gains(mel))
    # 400 hops hold a hundred independent frames, the narrowest bands two bins: below 2 % in the mean.
    assert float(x.std()) == pytest.approx(level / (0.5 * (bias * level) ** exponent), rel=0.02)


def test_prior_of_exponent_one_whitens_stationary_noise():
    waveform = coloured(256 * 200)
    mean = LogMel(SPEC)(waveform).mean(-1, keepdim=True).expand(-1, -1, 200)  # what is known of stationary noise
    whitening = MelWhitening(SPEC, 1.0)
    before, after = band_levels(waveform), band_levels(whitening.encode(waveform, whitening.gains(mean)))
    assert float(20 * (before.max() / before.min()).log10()) > 30
    assert float(20 * (after.max() / after.min()).log10()) < 2  # bands are up to 1 kHz wide there: 5 dB each


def test_prior_turns_white_noise_into_noise_of_the_shape_of_the_sound():
    waveform = coloured(256 * 200)
    whitening = MelWhitening(SPEC, 1.0)
    made = whitening.decode(white(256 * 200, seed=1), whitening.gains(LogMel(SPEC)(waveform)))
    assert float(20 * (band_levels(made) / band_levels(waveform)).log10().abs().max()) < 2


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_prior_never_expects_less_than_its_floor(exponent):
    spec = MelSpec(16000)
    whitening = MelWhitening(spec, exponent, floor=1e-4, scale=0.3)
    shape = whitening.gains(LogMel(spec)(torch.zeros(1, 1, 5120).double()))  # the mel's own floor lies at 8e-6
    assert torch.allclose(shape, torch.full_like(shape, 0.3 * 1e-4**exponent))


def steps_of(spec, block, levels):
    """The gains at 1 kHz of a mel whose frames are flat spectra of these magnitudes, relative to a unit one."""
    whitening = MelWhitening(spec, 1.0, block, floor=1e-12)
    loud = torch.zeros(1, spec.n_mels, len(levels), dtype=torch.float64)
    loud = loud + torch.tensor(levels, dtype=torch.float64).log() * spec.power
    unit = torch.zeros(1, spec.n_mels, len(levels), dtype=torch.float64)
    return (whitening.gains(loud) / whitening.gains(unit))[0, 0, :, block // 8]


def test_prior_places_mel_frames_where_they_were_heard():
    # A mel without centring is heard around the middle of its hop, a centred one around its beginning; geometric
    # interpolation lies between. The frames are 1, e, e³.
    e = math.e
    plain, centred = (MelSpec(16000, center=center) for center in (False, True))
    assert steps_of(plain, 256, [1, e, e**3]).log().tolist() == pytest.approx([0, 1, 3])
    assert steps_of(plain, 128, [1, e, e**3]).log().tolist() == pytest.approx([0, 0.25, 0.75, 1.5, 2.5, 3])
    assert steps_of(centred, 256, [1, e, e**3]).log().tolist() == pytest.approx([0.5, 2, 3])
    assert steps_of(centred, 128, [1, e, e**3]).log().tolist() == pytest.approx([0.25, 0.75, 1.5, 2.5, 3, 3])


def test_prior_places_bands_where_they_were_heard():
    tone = torch.sin(2 * math.pi * 2000 * torch.arange(256 * 20).double() / 16000)[None, None]
    shape = MelWhitening(SPEC, 1.0, block=128).gains(LogMel(SPEC)(tone))
    loudest = shape[0, 0, 20].argmax()  # coefficient k of 128 lies at (k + 1/2) 62.5 Hz
    assert abs((int(loudest) + 0.5) * 62.5 - 2000) < 63


def test_prior_reads_the_bands_at_the_middle_of_each_coefficient():
    # Bands whose centres lie 1000 / 15 Hz apart, from 1000 / 15 on; coefficient k of 15 lies halfway between two.
    spec = MelSpec(2000, n_mels=14, hop_length=255, f_max=1000.0, floor=1e-12, norm="none")
    loudness = torch.arange(1, 15, dtype=torch.float64)
    mel = (loudness * mel_filters(spec, loudness).sum(0)).log()[None, :, None].expand(-1, -1, 3)
    gains = MelWhitening(spec, 1.0, block=15, floor=1e-12).gains(mel)[0, 0, 5]
    assert torch.allclose(gains[1:14] / gains[1] * 1.5, torch.arange(1, 14, dtype=torch.float64) + 0.5, rtol=1e-6)


def test_prior_shapes_each_clip_of_a_batch_alone():
    mel = torch.cat([LogMel(SPEC)(coloured(5120)), LogMel(SPEC)(white(5120))])
    whitening = MelWhitening(SPEC)
    assert torch.allclose(whitening.gains(mel)[1:], whitening.gains(mel[1:]), atol=1e-12)


def test_prior_block_must_divide_the_hop():
    with pytest.raises(ValueError, match="block=100 must divide the mel's hop_length=256"):
        MelWhitening(SPEC, block=100)


@pytest.mark.parametrize("onset", [0, 8])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_compression_is_inverted_exactly(exponent, onset):
    whitening, waveform = PowerMDCT(64, exponent, scale=0.2, onset=onset), coloured(64 * 9)
    gains = whitening.gains(waveform)
    x = whitening.encode(waveform, gains)
    assert x.shape == waveform.shape
    assert torch.allclose(whitening.decode(x, gains), waveform, atol=1e-12)  # float64


def test_compression_brings_quiet_and_loud_together():
    quiet, loud = 1e-3 * white(64 * 100), 0.1 * white(64 * 100)
    whitening = PowerMDCT(64, 0.5)
    levels = [float(whitening.encode(w, whitening.gains(w)).std()) for w in (quiet, loud)]
    assert levels[1] / levels[0] == pytest.approx(10)  # the root of 100


def test_compression_refuses_what_it_cannot_invert():
    for exponent in (0.0, -0.5, 1.5):
        with pytest.raises(ValueError, match=rf"exponent={exponent} must lie in \(0, 1\]"):
            PowerMDCT(64, exponent)
    for onset in (-8, 7):
        with pytest.raises(ValueError, match=f"onset={onset} must divide block=64"):
            PowerMDCT(64, onset=onset)


def test_error_in_the_first_block_stays_within_a_short_one():
    whitening = PowerMDCT(64, 0.5, onset=8)
    x = torch.zeros(1, 1, 256, dtype=torch.float64)
    x[..., 0] = 1
    assert int(whitening.decode(x, whitening.gains(x)).abs().nonzero()[:, -1].max()) < 12
