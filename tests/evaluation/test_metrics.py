"""Measures: zero for equals, and known values for known changes."""

import math

import pytest
import torch

from audiodiff.evaluation import dnsmos, metrics
from audiodiff.evaluation.dnsmos import predict_opinion
from audiodiff.evaluation.metrics import (
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


@pytest.mark.parametrize("name", ["pesq_wb", "stoi"])
def test_perceptual_measures_take_a_silent_channel(name, waveform):
    pytest.importorskip({"pesq_wb": "pesq", "stoi": "pystoi"}[name])
    measure, _ = metrics.MEASURES[name]
    speech, silence = waveform[0], 0 * waveform[0]
    for pair in ((speech, silence), (silence, speech), (silence, silence)):
        value = measure(*pair, 16000)
        assert math.isnan(value) or (name == "stoi" and 0 <= value < 0.01)


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


def tone(frequency, n=RATE, level=0.1):
    return level * torch.sin(2 * torch.pi * frequency * torch.arange(n) / RATE)


def test_mel_cepstral_distortion_ignores_the_level_and_sees_the_tilt():
    reference = noise()
    assert metrics.mel_cepstral_distortion_db(reference, reference, RATE) == 0
    assert metrics.mel_cepstral_distortion_db(reference, 0.5 * reference, RATE) == pytest.approx(0, abs=0.05)
    tilted = torch.cat([reference[:1], reference[1:] - 0.9 * reference[:-1]])
    assert metrics.mel_cepstral_distortion_db(reference, tilted, RATE) > 3


def test_mel_cepstral_distortion_of_a_known_cepstrum():
    # A log-mel that differs by a cos(pi (m + 1/2) d / 80) has c_d off by a sqrt(40): 10 / ln 10 · a · sqrt(80).
    mels = iter([torch.zeros(1, 80, 5), 0.3 * torch.cos(math.pi / 80 * (torch.arange(80) + 0.5) * 4)[None, :, None]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "LogMel", lambda spec: lambda w: next(mels).expand(1, 80, 5))
        found = metrics.mel_cepstral_distortion_db(noise(), noise(), RATE)
    assert found == pytest.approx(10 / math.log(10) * 0.3 * math.sqrt(80), rel=1e-4)


@pytest.mark.parametrize("hop", [128, 256])
def test_tonal_excess_finds_a_buzz_at_the_frame_rate_and_nothing_else(hop):
    reference = noise(4 * RATE, level=0.01)
    lines = sum(tone(k * RATE / hop, 4 * RATE, 0.002) for k in range(1, hop // 2))
    off = sum(tone((k + 0.37) * RATE / hop, 4 * RATE, 0.002) for k in range(1, hop // 2))
    assert metrics.tonal_excess_db(reference, reference + lines, RATE, hop) > 6
    assert abs(metrics.tonal_excess_db(reference, reference + off, RATE, hop)) < 1
    assert metrics.tonal_excess_db(reference, reference, RATE, hop) == 0


def test_voicing_measures_tell_a_voice_from_noise(waveform):
    from audiodiff.evaluation.periodicity import periodicity_rmse, voicing_f1

    for voice, least in ((waveform[0], 0.1), (tone(150.0, 24000), 0.6)):  # pyin is surer of a tone than of our voice
        assert periodicity_rmse(voice, voice, RATE) == 0
        assert voicing_f1(voice, voice, RATE) == 1
        hoarse = noise(len(voice), level=0.05)
        assert periodicity_rmse(voice, hoarse, RATE) > least
        assert voicing_f1(voice, hoarse, RATE) < 0.3
        assert 0.5 < voicing_f1(voice, torch.cat([voice[: len(voice) // 2], hoarse[len(voice) // 2 :]]), RATE) < 0.8


def test_word_error_rate_counts_words(monkeypatch):
    from audiodiff.evaluation import word_error_rate as evaluation_word_error_rate

    heard = iter([["one", "two", "three", "four"], ["one", "too", "three"]])
    monkeypatch.setattr(evaluation_word_error_rate, "_transcript", lambda waveform, rate: next(heard))
    assert evaluation_word_error_rate.word_error_rate(noise(), noise(), RATE) == 0.5
    monkeypatch.setattr(evaluation_word_error_rate, "_transcript", lambda waveform, rate: [])
    assert math.isnan(evaluation_word_error_rate.word_error_rate(noise(), noise(), RATE))


@pytest.mark.parametrize(("a", "b", "edits"), [("", "a b", 2), ("a b", "", 2), ("a b c", "a c", 1), ("a b", "b a", 2)])
def test_word_edit_distance(a, b, edits):
    from audiodiff.evaluation.word_error_rate import edit_distance

    assert edit_distance(a.split(), b.split()) == edits


def test_word_error_rate_hears_no_difference_between_equals(waveform):
    pytest.importorskip("pocketsphinx")
    from audiodiff.evaluation.word_error_rate import word_error_rate

    found = word_error_rate(waveform[0], waveform[0], RATE)
    assert found == 0 or math.isnan(found)  # it may not understand a word of it


def test_every_measure_says_what_its_number_is():
    assert metrics.UNITS.keys() == metrics.MEASURES.keys()


@pytest.mark.parametrize("seconds", [0.5, 3.86, 9.5, 11.3])
def test_opinion_is_that_of_the_package_that_brings_the_model(waveform, seconds):
    speechmos = pytest.importorskip("speechmos.dnsmos")
    sound = waveform[0].repeat(12)[: int(seconds * RATE)] + noise(int(seconds * RATE), level=0.01)
    ours = predict_opinion(sound, RATE)
    assert ours == pytest.approx(speechmos.run(sound.clamp(-1, 1).numpy(), RATE)["p808_mos"], abs=1e-4)
    assert dnsmos._session() is dnsmos._session()
