"""Mending: what is known stays, what comes out is nearer to the truth, and bad input is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from audiodiff import audio
from audiodiff.audio.linear_prediction import declipped, filled
from audiodiff.cli import main
from audiodiff.evaluation.metrics import log_mel_l1
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import band_centres
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.restoration import RestoreRecipe, find_cutoff, find_limit, mend
from audiodiff.utils.config import shipped_path

VOICE = shipped_path("demos/audio/voices/it-1.flac")
RATE = 16000


@pytest.fixture(scope="module")
def vocoder():
    return Vocoder.load("speech-16k")


@pytest.fixture(scope="module")
def voice():
    return audio.read(VOICE)[0][:, :32000]


def error(x, y):
    return float((x - y).square().sum())


# --- linear prediction -------------------------------------------------------------------------------------------


def test_gap_in_a_sum_of_sines_is_filled_almost_exactly():
    n = np.arange(8000)
    x = np.sin(0.21 * n) + 0.5 * np.sin(0.53 * n + 1) + 0.3 * np.sin(1.1 * n + 2)
    damaged = x.copy()
    damaged[4000:4200] = 0
    found = filled(damaged, 4000, 4200)
    assert np.abs(found - x[4000:4200]).max() < 0.1  # the window of the estimate leaves 3 %


def test_clipped_sines_come_back_and_unclipped_samples_stay():
    n = np.arange(8000)
    x = np.sin(0.05 * n) + 0.4 * np.sin(0.17 * n + 1)
    damaged = x.clip(-0.9, 0.9)
    found = declipped(damaged, 0.9)
    kept = np.abs(damaged) < 0.9
    assert np.array_equal(found[kept], damaged[kept])
    assert ((found - x) ** 2).sum() < 0.02 * ((damaged - x) ** 2).sum()
    assert (np.abs(found[~kept]) >= 0.9 - 1e-9).all()


def test_prediction_of_silence_is_silence():
    assert not filled(np.zeros(3000), 1000, 1100).any()
    assert not filled(np.zeros(100), 0, 50).any()
    assert np.array_equal(declipped(np.zeros(3000), 0.5), np.zeros(3000))


# --- the three tasks ---------------------------------------------------------------------------------------------


def test_gap_is_filled_and_the_rest_kept_to_the_sample(vocoder, voice):
    damaged, (begin, end) = voice.clone(), (16000, 16000 + 1600)
    damaged[:, begin:end] = 0
    how = RestoreRecipe.from_options(vocoder, "speech-16k", damaged, "gap", gap=[begin / RATE, end / RATE])
    out = mend(vocoder, damaged, how)
    assert out.shape == voice.shape
    assert torch.equal(torch.cat([out[:, :begin], out[:, end:]], 1), torch.cat([voice[:, :begin], voice[:, end:]], 1))
    assert log_mel_l1(voice[0], out[0], RATE) < 0.7 * log_mel_l1(voice[0], damaged[0], RATE)
    edge = (out[0, begin - 1 : end + 1].diff().abs()).max()
    assert edge < 1.5 * voice[0].diff().abs().max()  # no click


def test_clipped_peaks_rise_and_come_nearer(vocoder, voice):
    limit = float(voice.abs().flatten().quantile(0.95))
    damaged = voice.clamp(-limit, limit)
    how = RestoreRecipe.from_options(vocoder, "speech-16k", damaged, "declip")
    assert how.limit == pytest.approx(limit, rel=2e-3)
    out = mend(vocoder, damaged, how)
    kept = damaged.abs() < how.limit
    assert torch.equal(out[kept], damaged[kept])
    assert error(out, voice) < 0.4 * error(damaged, voice)


def test_missing_treble_is_supplied_and_what_is_there_kept(vocoder, voice):
    spectrum = torch.fft.rfft(voice)
    edge = spectrum.shape[-1] // 2
    spectrum[:, edge:] = 0
    damaged = torch.fft.irfft(spectrum, n=voice.shape[-1])
    how = RestoreRecipe.from_options(vocoder, "speech-16k", damaged, "bandwidth")
    assert how.cutoff == pytest.approx(4000, abs=150)
    out = mend(vocoder, damaged, how)
    assert log_mel_l1(voice[0], out[0], RATE) < 0.35 * log_mel_l1(voice[0], damaged[0], RATE)
    low = slice(0, int(0.85 * edge))
    assert error(torch.fft.rfft(out)[0, low].abs(), spectrum[0, low].abs()) < 1e-3 * error(spectrum[0, low].abs(), 0)


def test_bands_are_expected_as_of_a_gaussian():
    """Two bands of correlation 1 - small: the one tells the other."""
    generator, spec = torch.Generator().manual_seed(0), MelSpec(RATE, n_mels=2)
    common = torch.randn(500, generator=generator)
    mel = torch.stack([common, 2 * common + 1])
    statistics = MelStatistics.of([mel], spec)
    logs = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = statistics.expected(logs, torch.tensor([True, False]))
    assert torch.allclose(found[:, 0], logs[:, 0])
    assert torch.allclose(found[:, 1], 2 * logs[:, 0] + 1, atol=0.15)  # the 0.05 on the diagonal pulls to the mean


def test_model_without_covariance_refuses_bandwidth(vocoder, voice):
    bare = Vocoder.load("speech-16k")
    bare.info = {}
    how = RestoreRecipe.from_options(bare, "speech-16k", voice, "bandwidth", cutoff=4000.0)
    with pytest.raises(ValueError, match="train it anew"):
        mend(bare, voice, how)
    with pytest.raises(ValueError, match="no band to go by"):
        mend(vocoder, voice, RestoreRecipe.from_options(vocoder, "speech-16k", voice, "bandwidth", cutoff=1.0))
    assert float(band_centres(vocoder.mel)[0]) > 1


def test_damage_that_is_not_there_is_not_found(voice):
    with pytest.raises(ValueError, match="does not look clipped"):
        find_limit(voice)
    with pytest.raises(ValueError, match="does not look clipped"):
        find_limit(torch.zeros(1, 1000))
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="already"):
        find_cutoff(noise, RATE)


# --- on the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch, voice):
    monkeypatch.chdir(tmp_path)
    audio.write("in.wav", voice, RATE)
    audio.write("clipped.wav", (4 * voice).clamp(-0.999, 0.999), RATE)
    return tmp_path


def test_mended_file_is_made_again_and_peaks_fit(place, capsys):
    assert main(["restore", "clipped.wav", "out.wav", "--task", "declip", "--model", "speech-16k"]) == 0
    assert "lowered by" in capsys.readouterr().err
    assert float(audio.read("out.wav")[0].abs().max()) < 0.995
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == Path("out.wav").read_bytes()


BAD = {
    "gap without places": (["--task", "gap"], "belong together"),
    "places without gap": (["--task", "declip", "--from", "1", "--to", "2"], "belong together"),
    "half a gap without gap": (["--task", "declip", "--from", "1"], "belong together"),
    "gap backwards": (["--task", "gap", "--from", "1", "--to", "0.5"], "ends before it begins"),
    "gap outside": (["--task", "gap", "--from", "1", "--to", "9"], "ends after the 2.00 s"),
    "not clipped": (["--task", "declip"], "--limit"),
    "no such task": (["--task", "gab"], "did you mean gap?"),
    "limit below 0": (["--task", "declip", "--limit", "-1"], "above 0"),
    "nothing left": (["--task", "bandwidth", "--cutoff", "0"], "above 0"),
    "nothing above": (["--task", "bandwidth", "--cutoff", "1e9"], "ends at 12000 Hz"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_repair_is_one_line(place, capsys, name):
    arguments, word = BAD[name]
    assert main(["restore", "in.wav", "out.wav", *arguments]) == 2
    error_line = capsys.readouterr().err
    assert word in error_line
    assert error_line.count("\n") == 1
    assert not Path("out.wav").exists()


def test_statistics_keep_their_covariance_through_a_file(voice):
    spec = MelSpec(RATE)
    statistics = MelStatistics.of([LogMel(spec)(voice[None])[0]], spec)
    read = MelStatistics.from_dict(statistics.to_dict(), 80)
    assert torch.allclose(read.covariance, statistics.covariance, atol=1e-3)
    without = {name: value for name, value in statistics.to_dict().items() if name != "covariance"}
    assert MelStatistics.from_dict(without, 80) is None
    assert MelStatistics.from_dict(statistics.to_dict() | {"covariance": [[1.0]]}, 80) is None
