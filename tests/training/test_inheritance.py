"""A run that begins with a trained model takes over all of it but what the user sets."""

import pytest
from support.training import TINY, run, steps

from audiodiff.mel import MelSpec
from audiodiff.models.base import Model
from audiodiff.training.hydra_config import composed
from audiodiff.training.inheritance import differences, inherit_model, replace_model
from audiodiff.training.run import train

OTHER = [o for o in TINY if not o.startswith(("experiment", "model."))]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    run(folder, *steps(1), "model.steps=3", "+model.final_iters=1", "info.licence=CC0-1.0", "+info.attribution=Ada")
    return folder


def begun(folder, first, *overrides):
    data = ["data.path=${shipped:datasets/clips/speech}", "data.n_workers=0"]
    train(composed([*OTHER, *data, *steps(1), f"run_dir={folder}", f"init_from={first}", *overrides]))
    return Model.load(folder)


def test_init_from_brings_structure_sampler_and_licence(first, tmp_path):
    old, new = Model.load(first), begun(tmp_path, first)
    assert new.config == old.config  # width 16 and three steps, although the default is another
    assert (new.steps, new.final_iters) == (3, 1)
    assert (new.info["licence"], new.info["attribution"]) == ("CC0-1.0", "Ada")
    assert new.info["initialised_from"] == str(first)


def test_what_the_user_sets_replaces_what_was_inherited(first, tmp_path):
    new = begun(tmp_path, first, "model.steps=5", "info.licence=MIT")
    assert (new.steps, new.final_iters, new.info["licence"]) == (5, 1, "MIT")


def test_part_that_the_user_sets_to_the_usual_one_replaces_another(tmp_path, monkeypatch, caplog):
    run(tmp_path / "first", *steps(1), "start=griffin-lim", "start.n_iter=1", "schedule=linear")
    monkeypatch.setattr("audiodiff.training.run.typed_settings", lambda: ["start", "data.path"])
    with caplog.at_level("INFO"):
        new = begun(tmp_path / "new", tmp_path / "first", "start=noise")
    assert (type(new.start).__name__, type(new.denoiser.schedule).__name__) == ("PureNoise", "LinearVP")
    assert "set here, in place of what the first model has: start" in caplog.text


def test_another_mel_brings_what_follows_from_it(tmp_path):
    """Bands and hop of the network, the whitening and the start follow, also where they equal the default."""
    start = ("start=griffin-lim", "start.n_iter=1", "data.n_samples=24576")
    run(tmp_path / "first", *steps(1), "mel=vocos-24k-100", *start)
    new = begun(tmp_path / "new", tmp_path / "first", "output_rate=24000", "init_strict=false", start[-1])
    assert new.mel == new.whitening.mel == new.start.mel == MelSpec.preset("16k-hop256").at_rate(24000)
    network = new.config["denoiser"]["network"]
    assert (network["n_mels"], network["mel_hop_length"], network["width"]) == (80, 384, 16)


def test_start_that_the_user_sets_takes_the_mel_of_the_first_model(tmp_path):
    run(tmp_path / "first", *steps(1), "mel=vocos-24k-100", "data.n_samples=24576")
    new = begun(tmp_path / "new", tmp_path / "first", "start=griffin-lim", "start.n_iter=1", "data.n_samples=24576")
    assert new.mel == new.start.mel == MelSpec.preset("vocos-24k-100")


def test_whole_model_of_a_recipe_takes_weights_alone_whatever_its_mel():
    """Also where that mel is the default, and so no setting that could be told from it."""
    first = {"mel": {"rate": 24000}, "one_step_start": {"_target_": "x", "mel": {"rate": 24000}}, "steps": 1}
    section = {"mel": {"rate": 16000}, "start": {"mel": {"rate": 16000}}, "steps": 4}
    other = {"rate": 16000}
    whole = {"mel": other, "one_step_start": {"_target_": "x", "mel": other}, "steps": 4, "start": {"mel": other}}
    assert replace_model(first, section) == whole
    assert replace_model(first, {"steps": 2}) == {**first, "steps": 2}


def test_adapter_without_a_first_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="an adapter changes a trained model"):
        run(tmp_path, *steps(1), "adapter=lora")


def test_differences_merge_back_to_the_section():
    default = {"a": 1, "b": {"_target_": "x", "c": 2, "d": 3}, "e": {"_target_": "y", "f": 4}}
    section = {"a": 1, "b": {"_target_": "x", "c": 5, "d": 3}, "e": {"_target_": "z", "g": 6}}
    assert differences(section, default) == {"b": {"c": 5}, "e": {"_target_": "z", "g": 6}}
    assert inherit_model(default, section, default) == section
