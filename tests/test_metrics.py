"""Measures: zero for equals, and known values for known changes."""

import math

import pytest
import torch

from audiodiff import metrics
from audiodiff.metrics import (
    log_mel_l1,
    log_spectral_distance_db,
    multi_resolution_stft,
    score,
    silence_level_db,
)

RATE = 16000


def noise(n=RATE, seed=0, level=0.1):
    return level * torch.randn(n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("measure", [log_mel_l1, log_spectral_distance_db, multi_resolution_stft])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_distance_is_zero_between_equals_and_grows_with_the_difference(measure, rate):
    reference = noise(rate)
    distances = [measure(reference, reference + noise(rate, 1, level), rate) for level in (0.0, 0.001, 0.01, 0.1)]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances)
    assert distances[1] > 1e-4


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("gain", [2.0, 0.5])
def test_distance_of_a_gain_is_the_gain(rate, gain):
    reference = noise(rate)
    # Both have floors (-100 dBFS) that the noise exceeds by 40 dB nearly everywhere.
    assert log_spectral_distance_db(reference, gain * reference, rate) == pytest.approx(20 * math.log10(2), rel=0.02)
    assert log_mel_l1(reference, gain * reference, rate) == pytest.approx(math.log(2), rel=0.02)


@pytest.mark.parametrize(("rate", "n_fft"), [(16000, 1024), (48000, 2048)])
def test_log_spectral_distance_is_that_of_gray_and_markel(rate, n_fft):
    reference, test = noise(rate), noise(rate, 1) + 0.3 * torch.sin(torch.arange(rate) / 5)
    window = torch.hann_window(n_fft)

    def levels(w):
        spectrum = torch.stft(w, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True).abs()
        return 20 * torch.log10(spectrum / (n_fft / 4) + 1e-5)  # a sine of full scale has 0 dB

    wanted = (levels(reference) - levels(test)).square().mean(0).sqrt().mean()
    assert log_spectral_distance_db(reference, test, rate) == pytest.approx(float(wanted), rel=1e-4)  # float32


def test_log_spectral_distance_is_deaf_below_its_floor():
    silence = torch.zeros(RATE)
    assert log_spectral_distance_db(silence, noise(level=1e-8), RATE) < 0.1
    assert log_spectral_distance_db(silence, noise(level=1e-2), RATE) > 20


def test_log_mel_l1_serves_the_shortest_clip_that_score_takes():
    assert log_mel_l1(noise(800), noise(800), RATE) == 0


def test_silence_level_is_measured_where_the_reference_is_silent():
    reference, test = noise(), noise()
    assert math.isnan(silence_level_db(reference, test, RATE))
    reference[4000:8000] = 0
    test[4000:8000] = 0.01
    assert silence_level_db(reference, test, RATE) == pytest.approx(-40, abs=0.01)
    test[4000:8000] = 0
    assert silence_level_db(reference, test, RATE) == -120
    reference[:] = noise()
    reference[4000:4700] = 0  # less than 50 ms
    assert math.isnan(silence_level_db(reference, test, RATE))


def test_score_applies_every_measure_that_is_installed(monkeypatch):
    def product(reference, test, sample_rate):
        return float((reference * test).sum()) * sample_rate

    monkeypatch.setattr(metrics, "MEASURES", {"there": (product, "torch"), "missing": (product, "no_such_package")})
    reference, test = noise(), noise(seed=1).double()
    assert score(reference, test, RATE) == {"there": pytest.approx(product(reference, test, RATE), rel=1e-4)}


@pytest.mark.parametrize("name", [n for n, (_, package) in metrics.MEASURES.items() if package != "speechmos"])
def test_measures_give_numbers_for_speech(name, waveform):
    measure, package = metrics.MEASURES[name]
    pytest.importorskip(package)
    assert isinstance(measure(waveform[0], waveform[0] + noise(24000, level=0.003), RATE), float)


@pytest.mark.slow  # starts an inference session
def test_dnsmos_prefers_speech_to_noise(waveform):
    measure, package = metrics.MEASURES["dnsmos_p808"]
    pytest.importorskip(package)
    speech, drowned = waveform[0], waveform[0] + noise(24000, level=0.3)
    assert measure(speech, speech, RATE) > measure(speech, drowned, RATE) > 1


@pytest.mark.parametrize("name", ["pesq_wb", "stoi"])
def test_perceptual_measures_fall_with_noise(name, waveform):
    measure, package = metrics.MEASURES[name]
    pytest.importorskip(package)
    clip = waveform[0]
    values = [measure(clip, clip + noise(len(clip), level=level), RATE) for level in (0.0, 0.003, 0.03)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx({"pesq_wb": 4.64, "stoi": 1.0}[name], abs=0.01)  # the best they give


def test_pesq_finds_no_speech_in_silence():
    pytest.importorskip("pesq")
    assert math.isnan(metrics.MEASURES["pesq_wb"][0](torch.zeros(RATE), torch.zeros(RATE), RATE))


def test_score_takes_the_shorter_length_up_to_50_ms(monkeypatch):
    monkeypatch.setattr(metrics, "MEASURES", {"log_mel_l1": (log_mel_l1, "torch")})
    clip = noise()
    assert score(clip, clip[:-800], RATE)["log_mel_l1"] == 0
    assert score(clip[:-800], clip, RATE)["log_mel_l1"] == 0
    with pytest.raises(ValueError, match=r"16000 against 15199 samples: the two must be of the same recording"):
        score(clip, clip[:-801], RATE)


def test_score_refuses_what_is_too_short():
    with pytest.raises(ValueError, match="799 samples are too short to be compared; at least 800"):
        score(noise(799), noise(799), RATE)
