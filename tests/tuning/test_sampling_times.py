"""The search of times: it finds an optimum that is known, judges honestly, and what it finds is stored and used."""

import json

import pytest
import torch

from audiodiff.cli import main
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps, linear_timesteps
from audiodiff.models import checkpoint
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.tuning import sampling_times
from audiodiff.tuning.sampling_times import search_times


class Known:
    """A vocoder whose sound is worse the further its times are from those wanted."""

    hop_length, sample_rate, device = 256, 16000, torch.device("cpu")

    def __init__(self, wanted, start=1.0):
        self.wanted = torch.tensor(wanted, dtype=torch.float64)
        self.start = type("Start", (), {"time": start})
        self.denoiser = type("D", (), {"schedule": Model.load("speech-16k").denoiser.schedule})
        self.asked = []

    def spectrogram(self, clips):
        self.clips = clips
        return clips[..., ::256]

    def generate(self, mel, times, seed):
        self.asked.append((len(mel), times, seed))
        return self.clips + float((times - self.wanted).abs().sum())


@pytest.fixture(autouse=True)
def plain_measure(monkeypatch):
    monkeypatch.setitem(sampling_times.MEASURES, "offset", (lambda a, b, rate: float((a - b).abs().mean()), "torch"))
    monkeypatch.setitem(sampling_times.MEASURES, "likeness", (lambda a, b, rate: -float((a - b).abs().mean()), "torch"))


CLIPS = torch.linspace(0, 1, 4)[:, None, None].expand(4, 1, 2560)


@pytest.mark.parametrize("wanted", [[1.0, 0.8, 0.0], [1.0, 0.9, 0.2, 0.0]])
def test_search_finds_times_that_are_known(wanted):
    found = search_times(Known(wanted), CLIPS, len(wanted) - 1, "offset", evaluations=60)
    assert found.best == "searched"
    assert found.times == pytest.approx(wanted, abs=0.02)
    assert found.scores["searched"] == min(found.scores.values())


def test_search_finds_a_bent_grid_of_many_steps():
    wanted = ((1 - torch.linspace(0, 1, 9, dtype=torch.float64) ** 1.2) ** 1.3).tolist()
    found = search_times(Known(wanted), CLIPS, 8, "offset", evaluations=80)
    assert found.times == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("name", TIMESTEP_GRIDS)
@pytest.mark.parametrize("steps", [2, 4, 7])
def test_search_goes_on_from_the_best_grid_that_has_a_name(name, steps):
    wanted = TIMESTEP_GRIDS[name](Model.load("speech-16k").denoiser.schedule, steps, 1.0).tolist()
    vocoder = Known(wanted)
    search_times(vocoder, CLIPS, steps, "offset", evaluations=1)
    first = vocoder.asked[len(TIMESTEP_GRIDS)][1].tolist()  # what the search tried first
    assert first == pytest.approx(wanted, abs=2e-3)  # as a function, sampled at 256 points


def test_search_starts_where_sampling_starts():
    found = search_times(Known([0.4, 0.3, 0.0], start=0.4), CLIPS, 2, "offset", evaluations=60)
    assert found.times == pytest.approx([0.4, 0.3, 0.0], abs=0.02)


def test_search_knows_which_measures_are_better_high(monkeypatch):
    monkeypatch.setattr(sampling_times, "BETTER_HIGH", ("likeness",))
    found = search_times(Known([1.0, 0.8, 0.0]), CLIPS, 2, "likeness", evaluations=60)
    assert found.times[1] == pytest.approx(0.8, abs=0.02)
    assert found.scores["searched"] == max(found.scores.values())


def test_search_judges_on_clips_that_did_not_search():
    vocoder = Known([1.0, 0.5, 0.0])
    found = search_times(vocoder, torch.arange(4.0).reshape(4, 1, 1).expand(4, 1, 2560), 2, "offset", evaluations=10)
    assert {n for n, _, _ in vocoder.asked} == {2}
    assert len(vocoder.asked) == found.evaluations + len(found.scores)
    assert found.best == "even-t"  # the known optimum: the search starts there, and cannot beat it
    assert {seed for *_, seed in vocoder.asked} == {0}


def test_search_does_not_take_chance_for_a_gain(monkeypatch):
    # A measure that is noise around the same mean for every grid: even times stay.
    drawn = torch.Generator().manual_seed(0)
    monkeypatch.setitem(
        sampling_times.MEASURES, "noise", (lambda a, b, rate: float(torch.randn((), generator=drawn)), "torch")
    )
    chosen = [search_times(Known([1.0, 0.5, 0.0]), CLIPS.repeat(6, 1, 1), 2, "noise", 5).best for _ in range(20)]
    # Four rivals, each with 2.5 % to gain two standard errors by chance; without the rule one in five would stay.
    assert chosen.count("even-t") >= 15


def test_search_has_nothing_to_search_in_one_step():
    found = search_times(Known([1.0, 0.0]), CLIPS, 1, "offset")
    assert found.times == [1.0, 0.0]
    assert found.evaluations == 0


def test_search_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="unknown measure 'loudness'"):
        search_times(Known([1.0, 0.0]), CLIPS, 1, "loudness")
    with pytest.raises(ValueError, match="at least four"):
        search_times(Known([1.0, 0.0]), CLIPS[:3], 1, "offset")


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_model_path, speech):
    monkeypatch.chdir(tmp_path)
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"tiny{suffix}").write_bytes(tiny_model_path.with_suffix(suffix).read_bytes())
    (tmp_path / "data").mkdir()
    for name in "abcd":
        (tmp_path / "data" / f"{name}.wav").write_bytes(speech.read_bytes())
    return tmp_path


TUNE = ["tune-times", "tiny.safetensors", "data", "--seconds", "0.3", "--evaluations", "4", "--clips", "4"]


def test_tune_times_stores_what_generate_then_uses(place, capsys):
    assert main([*TUNE, "--calls", "1,3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["calls"]
    vocoder = Vocoder.load("tiny.safetensors")
    assert [len(grid) - 1 for grid in vocoder.times] == [1, 3]
    assert vocoder.grid(3).tolist() == shown["3"]["times"]
    assert torch.equal(vocoder.grid(2), linear_timesteps(2))
    assert torch.equal(vocoder.grid(3, start=0.5), linear_timesteps(3, 0.5))
    mel = vocoder.spectrogram(0.1 * torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0)))
    bent = [1.0, 0.9, 0.2, 0.0]
    checkpoint.save_timesteps("tiny.safetensors", [bent])
    vocoder = Vocoder.load("tiny.safetensors")
    assert [len(grid) - 1 for grid in vocoder.times] == [1, 3]  # replaced, not added
    assert torch.equal(vocoder.generate(mel, steps=3), vocoder.generate(mel, times=check_timesteps(bent)))
    assert not torch.equal(vocoder.generate(mel, steps=3), vocoder.generate(mel, times=linear_timesteps(3)))
    assert main(["resynth", "data/a.wav", "out.wav", "--model", "tiny.safetensors", "--steps", "3"]) == 0
    assert json.loads((place / "out.wav.json").read_text())["times"] == bent


def test_tune_times_leaves_the_model_alone_and_writes_a_copy(place):
    before = (place / "tiny.json").read_bytes()
    assert main([*TUNE, "--calls", "2", "--out", "new.safetensors"]) == 0
    assert (place / "tiny.json").read_bytes() == before
    assert (place / "new.safetensors").read_bytes() == (place / "tiny.safetensors").read_bytes()
    assert len(Vocoder.load("new.safetensors").times) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({1: "speech-16k"}, ["--out"]),
        ({1: "nothing"}, ["no such model"]),
        ({2: "nowhere"}, ["nowhere"]),
        ({4: "99"}, ["99"]),
        ({4: "0.01"}, ["--seconds"]),
    ],
)
def test_tune_times_refuses_before_it_searches(place, capsys, changes, words):
    line = [changes.get(i, word) for i, word in enumerate(TUNE)]
    assert main([*line, "--calls", "2"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert [word for word in words if word not in told] == []


@pytest.mark.parametrize("calls", ["0", "two", "1,,2", ""])
def test_tune_times_names_calls_that_are_none(place, capsys, calls):
    assert main([*TUNE, "--calls", calls]) == 2
    assert "--calls" in capsys.readouterr().err


def test_tune_times_does_not_overwrite_without_force(place, capsys):
    (place / "new.safetensors").write_bytes(b"valued")
    assert main([*TUNE, "--calls", "1", "--out", "new.safetensors"]) == 2
    assert "-f" in capsys.readouterr().err
    assert (place / "new.safetensors").read_bytes() == b"valued"
