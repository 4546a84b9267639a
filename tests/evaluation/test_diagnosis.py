"""The doctor tells a model that has learned from one that has not, and a bug from either."""

import json
import math

import pytest
import torch
from conftest import tiny_vocoder

from audiodiff.cli import main
from audiodiff.data.folders import scan_folder
from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.predictions import Estimate, noise_of
from audiodiff.evaluation import diagnosis
from audiodiff.models.base import Model
from audiodiff.utils.config import shipped_path

CLIPS = shipped_path("datasets/clips/speech")


@pytest.fixture(scope="module")
def recordings():
    return scan_folder(CLIPS)


@pytest.fixture
def shipped():
    return Model.load("speech-16k")


class Instead(torch.nn.Module):
    """A denoiser that answers by a rule."""

    def __init__(self, denoiser, rule):
        super().__init__()
        self.network, self.schedule, self.prediction, self.rule = (
            denoiser.network,
            denoiser.schedule,
            denoiser.prediction,
            rule,
        )

    def forward(self, x_t, t, condition=None):
        alpha, sigma = scales(self.schedule, t, x_t)
        x = self.rule(x_t, alpha, sigma)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))


def test_trivial_predictors_have_the_errors_that_theory_gives(shipped, recordings):
    clips = diagnosis._clips(shipped, recordings, 2.0)
    for level in diagnosis.levels_of(shipped, clips):
        snr = math.exp(level.log_snr)
        power = sum(float(diagnosis._encoded(shipped, clip)[0].square().mean()) for clip in clips) / len(clips)
        assert level.zero == pytest.approx(0, abs=1e-5)
        assert level.input == pytest.approx(-10 * math.log10(snr * power), abs=0.3)
        assert level.wiener <= min(level.zero, level.input) + 0.1


@pytest.mark.parametrize(
    "rule",
    [lambda x_t, alpha, sigma: torch.zeros_like(x_t), lambda x_t, alpha, sigma: x_t / alpha],
    ids=["nothing", "its input"],
)
def test_model_that_says_what_anybody_can_say_is_found_out(shipped, recordings, rule):
    shipped.start.time = 0.3  # where a denoiser has something to do
    shipped.denoiser = Instead(shipped.denoiser, rule)
    assert any("has not learned" in trouble for trouble in diagnosis.examine(shipped, recordings).troubles)


def test_untrained_model_is_found_out(recordings):
    model = tiny_vocoder()
    model.config = {}
    assert any("has not learned" in trouble for trouble in diagnosis.examine(model, recordings).troubles)


def test_data_of_another_level_are_named(shipped, recordings):
    shipped.info["level"] = {"rms": 1e-3, "peak": 0.1}
    (trouble,) = (line for line in diagnosis.examine(shipped, recordings).troubles if "louder" in line)
    assert "bring them to one level" in trouble


@pytest.mark.parametrize(("updates", "found"), [(50, "trouble"), (200, "remark"), (5000, "remark")])
def test_average_that_is_too_young_is_named(shipped, recordings, updates, found):
    shipped.info["ema"] = {"decay": 0.99, "updates": updates}
    report = diagnosis.examine(shipped, recordings[:1], seconds=1)
    line = f"averaged over 100 steps, and {updates} have passed"
    assert any(line in text for text in (report.troubles if found == "trouble" else report.remarks))
    assert any("train longer" in text for text in report.troubles + report.remarks) == (updates < 300)


def test_command_prints_a_table_and_says_by_its_status(tmp_path, tiny_model_path, capsys):
    assert main(["doctor", "speech-16k", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["levels"]) == len(diagnosis.LEVELS)
    assert main(["doctor", str(tiny_model_path)]) == 1
    assert "TROUBLE" in capsys.readouterr().out
    assert main(["doctor", "drums"]) == 2
    assert "needs DATA" in capsys.readouterr().err
    assert main(["doctor", "speech-16k", str(tmp_path)]) == 2


def test_doctor_ends_in_a_verdict_and_finds_no_fault_with_what_ships(capsys):
    for name in ("speech-24k", "speech-16k"):
        assert main(["doctor", name, "--clips", "2"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("Good: ")


def test_model_that_starts_where_there_is_no_noise_is_not_judged_by_denoising():
    levels = [diagnosis.Level(snr, 0.0, 0.0, -10.0, -12.0) for snr in (-4.0, 0.0, 4.0)]
    assert "not learned" in diagnosis._of_levels(levels)[0][0]
    assert diagnosis._of_levels(levels, first=9.0)[0] == []
    report = diagnosis.Report(levels, ["one is wrong"], [])
    assert diagnosis.verdict(report) == "TROUBLE: 1 thing speaks against the model, named above."
