"""Every YAML file is composed and built; what trains is trained for two steps."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support import training

import audiodiff.training.hydra_config  # which registers the resolvers that the files use
from audiodiff import audio
from audiodiff.losses import DenoisingLoss
from audiodiff.models.base import Model
from audiodiff.training.hydra_config import check_overrides
from audiodiff.training.run import train
from audiodiff.utils.config import build, conf_dir

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
GROUPS = {
    f"{path.parent.name}={path.stem}"
    for path in conf_dir().glob("*/*.yaml")
    if path.parent.name not in ("experiment", "data", "search_space")  # the last is of conf/tune.yaml
}
NEEDED = {"continual=ewc": ["continual.manifest=old.jsonl"]}


def composed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds_its_model_loss_and_optimiser(experiment):
    cfg = composed(f"experiment={experiment}")
    model = build(OmegaConf.to_container(cfg.model, resolve=True))
    assert isinstance(model, Model)
    assert instantiate(cfg.optimizer)(model.parameters()).param_groups[0]["lr"] == cfg.optimizer.lr
    assert isinstance(build(OmegaConf.to_container(cfg.loss, resolve=True)), DenoisingLoss)


@pytest.mark.parametrize("choice", sorted(GROUPS))
def test_every_choice_of_every_group_composes_and_resolves(choice):
    cfg = composed(choice, "data.path=recordings", *NEEDED.get(choice, []))
    assert OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)["model"]["_target_"]


BUILT = (
    *("augment", "auxiliary", "distance", "lr_schedule", "mel_augment", "prediction", "schedule", "start"),
    *("time_sampling", "weighting"),
)
TRAINED = sorted(choice for choice in GROUPS if choice.partition("=")[0] in BUILT)
NOISE_ALONE = {"prediction=eps": ["schedule=linear"]}  # eps needs a path that does not end in noise alone


@pytest.mark.parametrize("choice", TRAINED)
def test_every_choice_trains_for_two_steps(tmp_path, choice):
    training.run(tmp_path, *training.steps(2), choice, *NOISE_ALONE.get(choice, []))
    saved = (tmp_path / "model.safetensors").stat().st_size
    assert saved > 0


SHORT = [
    *("data.batch_size=2", "data.validation_clips=2", "data.n_workers=0", "data.valid_manifest=null", "previews=0"),
    *("trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.checkpoint_every=2", "trainer.accelerator=cpu"),
]
VOICES = ["data.path=${shipped:datasets/clips/speech}", "data.manifest=null"]
BEGUN = {
    "speech-few": ["init_from=speech-16k"],
    "speech-16k": ["init_from=speech-24k", "init_strict=false", "data.balance=null"],
    "speech-22k": ["init_from=speech-24k", "init_strict=false", "data.balance=null"],
    "speech-24k-hop480": ["init_from=speech-24k", "init_strict=false", "data.balance=null"],
    "speech-24k": ["data.balance=null"],  # nothing tells the speakers of the clips that ship
    "speech-24k-few": ["init_from=speech-24k", "data.balance=null"],
    "speech-24k-live": ["init_from=speech-24k", "data.balance=null"],
    "drum_kits": ["data.balance=null"],  # nor the makers of these sounds
    "spoken_commands": ["data.balance=null"],
}


def trained(folder, *overrides):
    return train(audiodiff.training.hydra_config.composed([*SHORT, f"run_dir={folder}", *overrides]))


def sounds(folder, labels):
    """Writes half a second of noise for each class, and the manifest."""
    lines = []
    for n, label in enumerate(labels):
        noise = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(n))
        audio.write(folder / f"{label}.wav", noise, 16000)
        lines.append({"path": f"{label}.wav", "n_samples": 8000, "sample_rate": 16000, "label": label})
    (folder / "sounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"data.manifest={folder / 'sounds.jsonl'}"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_for_two_steps_as_it_is(tmp_path, experiment):
    cfg = composed(f"experiment={experiment}")
    data = [sounds(tmp_path, cfg.data.labels)] if cfg.data.get("one_shots") else VOICES
    trained(tmp_path / "run", f"experiment={experiment}", "sanity_check=false", *data, *BEGUN.get(experiment, []))
    assert Model.load(tmp_path / "run").info["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["generator", "live", "multi-resolution", "diffwave", "band-split", "vocoder"])
def test_every_model_trains_for_two_steps_as_it_is(tmp_path, model):
    trained(tmp_path, f"model={model}", "data.path=${shipped:datasets/clips/speech}", "data.n_samples=4096")
    assert Model.load(tmp_path).info["steps"] == 2


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("name", ["sgd", "lion"])
def test_optimiser_that_is_chosen_has_its_own_rate_in_every_experiment(experiment, name):
    chosen = [
        cfg.optimizer
        for cfg in (composed(f"experiment={experiment}", f"optimizer={name}"), composed(f"optimizer={name}"))
    ]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("chosen", [["experiment=speech-few"], ["objective=adversarial", "data.path=recordings"]])
def test_adversarial_stage_has_the_numbers_of_the_shipped_weights_unless_another_optimiser_is_chosen(chosen):
    cfg = OmegaConf.to_container(composed(*chosen), resolve=True)
    shipped = {"_target_": "torch.optim.AdamW", "_partial_": True, "weight_decay": 0.01, "fused": True}
    assert cfg["optimizer"] == shipped | {"lr": 2e-4, "betas": [0.8, 0.99]}
    schedule = {"warmup_steps": 50, "total_steps": cfg["trainer"]["max_steps"], "final_factor": 0.05}
    assert {name: cfg["lr_schedule"][name] for name in schedule} == schedule
    own = composed("optimizer=sgd", "data.path=recordings").optimizer
    assert composed(*chosen, "optimizer=sgd").optimizer == own
    assert composed(*chosen, "optimizer.lr=1e-5").optimizer.betas == [0.8, 0.99]


def test_an_unknown_experiment_is_named():
    with pytest.raises(ConfigCompositionException, match="nonsense"):
        composed("experiment=nonsense")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("daat.path=x", "data.path"),
        ("optimizer.lrr=1", "optimizer.lr"),
        ("optimizer=adamm", "optimizer=adam"),
        ("scheduel=cosine", "schedule"),
    ],
)
def test_unknown_setting_or_choice_is_told_with_what_was_meant(typed, meant):
    with pytest.raises(ValueError, match=rf"did you mean {meant}\w*\?\)"):
        check_overrides(["data.path=recordings", typed])


def test_what_there_is_passes_the_check():
    check_overrides(["data.path=recordings", "optimizer=adam", "+trainer.limit_val_batches=1"])
