"""Training on a tiny model: what is drawn, averaged, saved, resumed and previewed."""

import json

import pytest
import torch
from conftest import voiced
from hydra import compose, initialize_config_dir
from support.training import equal, run, states, steps

from audiodiff import audio
from audiodiff.data.manifest import Recording
from audiodiff.evaluation import metrics
from audiodiff.evaluation.sanity_check import verdict
from audiodiff.mel import MelSpec
from audiodiff.models.base import Model
from audiodiff.pipelines.resynthesis import resynthesise, vocode
from audiodiff.training.run import train
from audiodiff.utils.config import conf_dir, shipped_path


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 20 steps with a preview of one clip at the end."""
    folder = tmp_path_factory.mktemp("straight")
    run(folder, *steps(20), "previews=1")
    return folder


def test_resume_repeats_an_uninterrupted_run_bit_for_bit(straight, tmp_path):
    run(tmp_path, *steps(10), "previews=1")
    half = states(tmp_path)
    run(tmp_path, *steps(20), "previews=1")
    whole, resumed = states(straight), states(tmp_path)
    assert equal(whole["raw"], resumed["raw"])
    assert equal(whole["ema"], resumed["ema"])
    assert not equal(half["raw"], resumed["raw"])


def test_ema_and_raw_weights_both_survive_in_checkpoint_and_export(straight):
    from_ckpt = states(straight)
    exported = {weights: Model.load(straight, weights=weights).state_dict() for weights in ("ema", "raw")}
    assert equal(from_ckpt["ema"], exported["ema"])
    assert equal(from_ckpt["raw"], exported["raw"])
    assert not equal(from_ckpt["ema"], from_ckpt["raw"])


def test_preview_is_what_resynthesis_of_that_checkpoint_gives_sample_for_sample(straight):
    (preview,) = (straight / "previews").glob("step0000020-*.wav")
    source = shipped_path("datasets/clips/speech") / f"{preview.stem.split('-', 1)[1]}.flac"
    model = Model.load(straight / "last.ckpt")
    waveform, _ = audio.read(source, model.sample_rate)
    samples, _ = audio.to_pcm(resynthesise(model, waveform, seed=0).waveform)
    heard, _ = audio.read(preview)
    assert torch.equal(heard, torch.from_numpy(samples.T / 32768).float())


def test_metrics_file_holds_loss_by_log_snr_band_and_clips_per_second(straight):
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines() if "train/" in line]
    assert lines[-1]["step"] == 20
    assert lines[-1]["clips_per_second"] > 0
    assert any(name.startswith("log_snr/") for name in lines[-1])


def test_checkpoint_loads_without_pickled_code_and_knows_the_level_of_the_data(straight):
    checkpoint = torch.load(straight / "last.ckpt", weights_only=True)
    info = checkpoint["audiodiff"]["info"]
    assert 0 < info["level"]["rms"] < info["level"]["peak"] <= 1
    assert info["steps"] == 20
    assert len(info["mel_statistics"]["frame_mean"]) == checkpoint["audiodiff"]["config"]["mel"]["n_mels"]
    assert json.loads((straight / "model.json").read_text())["config"] == checkpoint["audiodiff"]["config"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_lowers_the_loss_in_every_precision(tmp_path, precision):
    fast = ["optimizer.lr=3e-3", "lr_schedule=cosine", "lr_schedule.total_steps=50"]
    run(tmp_path, *steps(50), f"trainer.precision={precision}", *fast)
    losses = [
        json.loads(line)["train/loss"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert sum(losses[-10:]) < sum(losses[:10])


def test_transfer_begins_with_another_models_weights_at_step_zero(straight, tmp_path):
    run(tmp_path, *steps(1), f"init_from={straight}", "optimizer.lr=0.0")
    assert equal(states(tmp_path)["raw"], states(straight)["ema"])


def test_a_run_that_goes_on_does_not_read_what_it_began_with(straight, tmp_path):
    run(tmp_path, *steps(2), f"init_from={straight}")
    with pytest.raises(ValueError, match="leave one of them out"):
        run(tmp_path, *steps(4), f"init_from={straight}", "resume=true")
    run(tmp_path, *steps(4), "init_from=a-run-that-was-removed")
    assert Model.load(tmp_path).info["steps"] == 4
    run(tmp_path, *steps(1), "resume=false")
    assert Model.load(tmp_path).info["steps"] == 1


def test_going_on_with_another_optimiser_or_without_data_is_refused_before_the_first_step(tmp_path):
    run(tmp_path, *steps(1))
    with pytest.raises(ValueError, match=r"began with torch\.optim\.AdamW, .* than torch\.optim\.SGD"):
        run(tmp_path, *steps(2), "optimizer=sgd")
    run(tmp_path, *steps(2), "optimizer=adamw", "optimizer.lr=1e-4")  # another rate is no other optimiser
    with pytest.raises(ValueError, match=r"data\.path=FOLDER"):
        run(tmp_path / "new", *steps(1), "data.path=???")


@pytest.mark.parametrize("mel", sorted(path.stem for path in (conf_dir() / "mel").glob("*.yaml")))
def test_any_sample_rate_and_hop_trains_by_configuration_alone(tmp_path, mel):
    run(tmp_path, *steps(1), f"mel={mel}", "start=griffin-lim", "start.n_iter=1", "data.n_samples=32768")
    model = Model.load(tmp_path)
    frames = 9
    sound = model.generate(torch.full((1, model.mel.n_mels, frames), -5.0))
    assert sound.shape == (1, 1, frames * model.mel.hop_length)
    assert bool(torch.isfinite(sound).all())


def test_vocoder_sounds_above_the_rate_of_its_mel(tmp_path):
    """It is trained on recordings at the output's rate, and takes the mel of the lower rate as it is."""
    run(tmp_path, *steps(1), "output_rate=24000", "start=griffin-lim", "start.n_iter=1", "data.n_samples=24576")
    model, mel = Model.load(tmp_path), torch.full((1, 80, 9), -5.0)
    sound = vocode(model, mel, convention=MelSpec.preset("16k-hop256"), steps=1).waveform
    assert model.sample_rate == 24000
    assert sound.shape == (1, 9 * 384)
    torch.testing.assert_close(sound, vocode(model, mel, steps=1).waveform, atol=1e-4, rtol=0)
    run(tmp_path, *steps(2), "output_rate=24000", "start=griffin-lim", "start.n_iter=1", "data.n_samples=24576")
    assert Model.load(tmp_path).info["steps"] == 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["mel=hifigan", "output_rate=24000"], "output_rate=24000: .* would not be whole"),
        (["output_rate=8000"], "output_rate=8000: f_max must be"),
        (["model=generator", "output_rate=24000"], "output_rate is a vocoder's"),
    ],
)
def test_output_rate_that_cannot_be_is_refused(tmp_path, overrides, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, *steps(1), *overrides)


def test_a_centred_mel_trains(tmp_path):
    run(tmp_path, *steps(1), "mel.center=true")
    assert Model.load(tmp_path).mel.center


def test_verdict_passes_over_recordings_that_cannot_be_compared(tmp_path, caplog):
    from audiodiff.training.run import _sanity_check

    run(tmp_path / "run", *steps(1))
    tone = voiced(1.5, 16000)
    sounds = {"short": tone[:, :30], "antiphase": torch.cat([tone, -tone]), "whole": tone}
    for name, sound in sounds.items():
        audio.write(tmp_path / f"{name}.wav", sound, 16000)
    held_out = [Recording(tmp_path / f"{name}.wav", sound.shape[1], 16000) for name, sound in sounds.items()]
    assert _sanity_check(tmp_path / "run", held_out)["lsd/model"] > 0
    assert _sanity_check(tmp_path / "run", held_out[:2]) == {}
    assert "no held-out recording can be compared" in caplog.text


def test_verdict_compares_with_silence_noise_and_the_untrained_network(straight):
    model = Model.load(straight)
    reference, _ = audio.read(shipped_path("datasets/clips/speech") / "june.flac", model.sample_rate)
    found = verdict(model, model, reference[0])
    assert found["lsd/model"] == found["lsd/untrained"]
    assert found["lsd/margin"] <= 0
    silence = metrics.log_spectral_distance_db(reference[0], torch.zeros_like(reference[0]), model.sample_rate)
    assert found["lsd/silence"] == silence


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "margin_db"), [("quickstart", 6.0), ("one-clip", 10.0)])
def test_tiny_experiment_beats_silence_noise_and_the_untrained_network(tmp_path, experiment, margin_db):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        found = train(compose("train", [f"experiment={experiment}", f"run_dir={tmp_path}"]))
    assert found["lsd/margin"] > margin_db
    sample, rate = audio.read(tmp_path / "sample.wav")
    assert rate == 16000
    assert sample.shape[1] > rate
