"""Calibration against signals whose distribution of energy is known."""

import json
import math

import pytest
import torch

from audiodiff.cli import main
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.training.hydra_config import composed
from audiodiff.tuning.calibrate import calibrate, plot

NEPERS = math.log(10) / 10  # per dB


def noise(std=1.0, n=200_000, seed=0):
    return std * torch.randn(1, n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("std", [1.0, 0.05])
def test_schedule_calibrated_on_white_noise_is_the_closed_form(std):
    # Energies of cells are exponential with mean std²: quantile q lies at -std² log(1 - q).
    found = calibrate([noise(std)], [noise(std)], 16000, below_db=30, above_db=10)
    assert found.sigma_data == pytest.approx(std, rel=0.01)
    assert found.rms_dbfs == pytest.approx(20 * math.log10(std), abs=0.1)
    assert found.shift == pytest.approx(-math.log(std**2 * math.log(2)), abs=0.03)
    assert found.log_snr_max == pytest.approx(-math.log(-(std**2) * math.log(0.9)) + 30 * NEPERS, abs=0.05)
    assert found.log_snr_min == pytest.approx(-math.log(-(std**2) * math.log(0.001)) - 10 * NEPERS, abs=0.1)


def test_schedule_calibrated_shows_half_of_the_cells_at_half_time():
    signal = noise().cumsum(-1) / 100  # brown: energies over many orders of magnitude
    found = calibrate([signal / signal.abs().max()], [signal], 16000)
    seen = found.visible_share(found.schedule(), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)).tolist()
    assert seen[0] > 0.99
    assert seen[1] == pytest.approx(0.5, abs=0.01)
    assert seen[2] < 0.001


def test_schedule_calibrated_moves_with_the_level():
    quiet, loud = (calibrate([noise(std)], [noise(std)], 16000) for std in (0.01, 0.1))
    for name in ("shift", "log_snr_min", "log_snr_max"):
        assert getattr(quiet, name) - getattr(loud, name) == pytest.approx(20 * NEPERS, abs=0.02)


def test_calibration_does_not_count_silence():
    signal = torch.cat([noise(0.1), torch.zeros(1, 400_000)], dim=-1)
    half, whole = calibrate([signal], [signal], 16000), calibrate([noise(0.1)], [noise(0.1)], 16000)
    assert half.shift == pytest.approx(whole.shift, abs=0.05)
    assert half.log_snr_max == pytest.approx(whole.log_snr_max, abs=0.3)
    with pytest.raises(ValueError, match="nothing but silence"):
        calibrate([torch.zeros(1, 9999)], [torch.zeros(1, 9999)], 16000)


def test_calibration_spectrum_is_relative_to_white_noise_of_unit_variance():
    low, middle, high = calibrate([noise()], [noise()], 16000).spectrum_db
    inner = slice(5, -5)  # DC and Nyquist are real
    assert sum(middle[inner]) / len(middle[inner]) == pytest.approx(10 * math.log10(math.log(2)), abs=0.2)
    assert all(a < b < c for a, b, c in zip(low, middle, high, strict=True))


def test_calibration_is_drawn(tmp_path):
    plot(calibrate([noise()], [noise()], 16000), CosineVP(), tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_calibrate_prints_overrides_that_the_training_takes(speech, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert main(["calibrate", str(speech.parent), "mel=16k-hop160", "--plot", str(out)]) == 0
    overrides = capsys.readouterr().out.split()
    assert out.is_file()
    cfg = composed(["data.path=x", "mel=16k-hop160", *overrides])
    assert f"schedule.shift={cfg.model.denoiser.schedule.shift:g}" in overrides
    assert f"prediction.sigma_data={cfg.model.denoiser.prediction.sigma_data:g}" in overrides
    assert main(["calibrate", str(speech.parent), "--plot", str(out)]) == 2
    assert "-f" in capsys.readouterr().err


def test_calibrate_measures_the_space_of_the_config(speech, capsys):
    shown = []
    for model in ("vocoder", "generator"):
        assert main(["calibrate", str(speech.parent), f"model={model}", "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0]["rms_dbfs"] == pytest.approx(shown[1]["rms_dbfs"], abs=0.1)
    # The waveform's spectrum falls steeply, the whitened one's does not: more time at low noise for the former.
    assert shown[1]["schedule.shift"] > shown[0]["schedule.shift"] + 1


@pytest.mark.parametrize("wrong", ["mel=nonsense", "nonsense", "no.such.key=1"])
def test_calibrate_names_an_override_that_is_none(speech, capsys, wrong):
    assert main(["calibrate", str(speech.parent), wrong]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert wrong.split("=")[0] in told
