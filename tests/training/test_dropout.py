"""Dropout, stochastic depth and spoilt mels: their expectation, their physics, and that a resumed run repeats them."""

import pytest
import torch
from conftest import tiny_vocoder, voiced
from support.training import equal, run, states, steps

from audiodiff.losses import DenoisingLoss, PowerTimes
from audiodiff.training.dropout import Dropout
from audiodiff.training.mel_augment import MelAugment, blurred
from audiodiff.training.module import LitModel


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(training=True):
    model = tiny_vocoder().denoiser.network
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    return model.train(training)


def last_block(model):
    return model.stages[-1][-1]


def signal(batch):
    return torch.randn(1, 8, last_block(network()).mlp[0].in_features, generator=generator(1)).expand(batch, -1, -1)


def through(block, h):
    return block(h, torch.zeros(len(h), block.before_mlp.linear.in_features))


@pytest.mark.parametrize(("dropout", "drop_path"), [(0.5, 0.0), (0.0, 0.5)])
def test_expectation_is_that_of_the_whole_block(dropout, drop_path):
    model = network()
    plain = through(last_block(model), signal(1))
    dropout_hooks = Dropout(model, dropout, drop_path)
    dropout_hooks.seed(generator())
    outs = through(last_block(model), signal(4000))
    assert torch.allclose(outs.mean(0), plain[0], atol=6 * float(outs.std(0).max()) / 4000**0.5)
    assert float(outs.std(0).max()) > 0.01
    assert torch.equal(through(last_block(model.eval()), signal(2))[0], plain[0])


def test_stochastic_depth_leaves_out_whole_clips_the_last_block_most_often():
    model = network()
    Dropout(model, drop_path=0.5).seed(generator())
    h = signal(400)
    left_out = (through(last_block(model), h) == h).all(-1).all(-1)
    assert 0.4 < float(left_out.float().mean()) < 0.6
    first = model.stages[0][0]
    out = first(h, torch.zeros(len(h), first.modulation.linear.in_features))
    assert not bool((out == h).all(-1).all(-1).any())


def test_what_is_switched_off_hooks_nothing_and_draws_nothing():
    model, source = network(), generator()
    before = source.get_state()
    Dropout(model).seed(source)
    assert torch.equal(source.get_state(), before)
    assert not any(module._forward_hooks for module in model.modules())
    mel = torch.randn(2, 8, 10)
    assert MelAugment()(mel, source) is mel
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("given", [(1.0, 0.0), (0.0, -0.1)])
def test_share_out_of_range_is_refused(given):
    with pytest.raises(ValueError, match="shares in"):
        Dropout(network(), *given)


SPOILT = ["dropout=0.2", "drop_path=0.3", "mel_augment=tts"]


def test_resumed_run_repeats_the_masks_and_the_spoilt_mels(tmp_path):
    run(tmp_path / "whole", *steps(4, every=2), *SPOILT)
    run(tmp_path / "plain", *steps(4, every=2))
    for n in (2, 4):
        torch.manual_seed(n)
        run(tmp_path / "parts", *steps(n, every=2), *SPOILT)
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])
    assert not equal(states(tmp_path / "whole")["raw"], states(tmp_path / "plain")["raw"])


@pytest.mark.parametrize("axis", [0, 1])
def test_blur_spreads_an_impulse_by_its_deviation_and_keeps_the_sum(axis):
    mel = torch.zeros(41, 41)
    mel[20, 20] = 1
    out = blurred(mel, 2.0, axis)
    line = out[:, 20] if axis == 0 else out[20]
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert float(line.sum()) == pytest.approx(1, abs=1e-5)
    spread = float((line * (torch.arange(41) - 20.0) ** 2).sum()) ** 0.5
    assert spread == pytest.approx(2.0, rel=0.02)
    assert torch.allclose(blurred(torch.full((6, 5), 3.0), 2.0, axis), torch.tensor(3.0))


def test_noise_and_masks_are_as_large_as_they_are_said_to_be_and_reach_some_clips():
    mel = torch.randn(300, 8, 30, generator=generator(3))
    noisy = MelAugment(noise=0.5)(mel, generator())
    deviations = (noisy - mel).std(dim=(1, 2))
    assert 0.4 < float(deviations.max()) < 0.6
    assert float(deviations.min()) < 0.05
    masked = MelAugment(masks=2, mask_frames=4)(mel, generator())
    changed = (masked != mel).any(1).sum(1)
    assert 4 < int(changed.max()) <= 8
    quiet = mel.amin(2, keepdim=True).expand_as(mel)
    assert bool(((masked == mel) | (masked == quiet)).all())
    half = MelAugment(noise=0.5, probability=0.5)(mel, generator())
    assert 0.4 < float((half != mel).flatten(1).any(1).float().mean()) < 0.6


def lit(spoil):
    loss = DenoisingLoss(PowerTimes())
    return LitModel(tiny_vocoder(), loss, torch.optim.AdamW, lambda step: 1.0, mel_augment=spoil)


def test_network_and_prior_see_the_same_spoilt_mel_while_training_and_the_measured_one_in_validation(monkeypatch):
    spoilt, clips = lit(MelAugment(noise=0.5)), voiced()[None, :, :8192]
    model, seen = spoilt.model, []
    encode, gains = model.denoiser.network.encode, model.whitening.gains
    monkeypatch.setattr(model.denoiser.network, "encode", lambda mel: seen.append(mel) or encode(mel))
    monkeypatch.setattr(model.whitening, "gains", lambda mel: seen.append(mel) or gains(mel))
    measured = spoilt.crop_and_mel(clips)[1]
    for training in (True, False):
        spoilt.train(training).compute_loss(clips, generator())
        by_network, by_prior = seen[-2:]
        assert torch.equal(by_network, by_prior)
        assert torch.equal(by_network, measured) != training
    assert torch.equal(
        spoilt.compute_loss(clips, generator()).total, lit(None).eval().compute_loss(clips, generator()).total
    )


@pytest.mark.parametrize("given", [{"noise": -1}, {"smooth": [1]}, {"probability": 2}])
def test_mel_augmentation_out_of_range_is_refused(given):
    with pytest.raises(ValueError, match=r"not negative|not in|sizes"):
        MelAugment(**given)


def seeds_of(folder, monkeypatch, *given):
    """Seeds of the generators of a run's training batches, in order."""
    seeds, terms = [], LitModel.compute_loss

    def remembered(self, batch, generator):
        if self.training:
            seeds.append(generator.initial_seed())
        return terms(self, batch, generator)

    monkeypatch.setattr(LitModel, "compute_loss", remembered)
    run(folder, *given)
    monkeypatch.setattr(LitModel, "compute_loss", terms)
    return seeds


def test_batches_that_are_accumulated_have_noise_and_masks_of_their_own_and_resume(tmp_path, monkeypatch):
    given = ["trainer.accumulate_grad_batches=2", "dropout=0.2"]
    whole = seeds_of(tmp_path / "whole", monkeypatch, *steps(4, every=2), *given)
    assert len(set(whole)) == len(whole) == 8
    assert whole[::2] == seeds_of(tmp_path / "one", monkeypatch, *steps(4, every=2))  # the first of each, as ever
    parts = [seed for n in (2, 4) for seed in seeds_of(tmp_path / "parts", monkeypatch, *steps(n, every=2), *given)]
    assert parts == whole
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])
