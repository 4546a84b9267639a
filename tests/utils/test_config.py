"""Configurations build objects of audiodiff and nothing else."""

import sys

import pytest

from audiodiff.diffusion.predictions import VPrediction
from audiodiff.mel import MelSpec
from audiodiff.models.whitening import MelWhitening
from audiodiff.utils import config
from audiodiff.utils.config import build, conf_dir, shipped_path

MEL = {"_target_": "audiodiff.mel.MelSpec", "sample_rate": 16000, "n_mels": 64}


def test_build_makes_what_the_target_names():
    assert build(MEL) == MelSpec(16000, n_mels=64)
    assert isinstance(build({"_target_": "audiodiff.diffusion.VPrediction"}), VPrediction)


def test_build_starts_with_the_innermost():
    whitening = build({"_target_": "audiodiff.models.MelWhitening", "mel": MEL, "exponent": 0.3, "block": 64})
    assert isinstance(whitening, MelWhitening)
    assert (whitening.mel, whitening.exponent, whitening.block) == (MelSpec(16000, n_mels=64), 0.3, 64)


def test_build_leaves_plain_values_and_keeps_its_input():
    spec = {"a": [1, (2.5, "x")], "mel": MEL, "none": None, "deep": {"_plain_": True}}
    before = repr(spec)
    assert build(spec) == {
        "a": [1, [2.5, "x"]],
        "mel": MelSpec(16000, n_mels=64),
        "none": None,
        "deep": {"_plain_": True},
    }
    assert repr(spec) == before
    assert build(3) == 3


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.nn.Linear",
        "audiodiff",
        "audiodiff.",
        "audiodiff.audio.io.os.system",
        "audiodiff.models.checkpoint.read",
        "audiodiff.audio.io.write",
        "audiodiff.audio.io.Path",
        "audiodiff.mel.spec.nn.Linear",
        "audiodiff.mel.spec.torch",
        "audiodiff.mel.spec._filters",
        "audiodiff.mel.spec.MelSpec.__init__",
        "audiodiff.diffusion.timesteps.TIMESTEP_GRIDS",
        "audiodiff.nothing.Here",
        "audiodiff.mel.spec.Nothing",
        "audiodiffusion.Evil",
        "../audiodiff.mel.MelSpec",
        "",
        None,
        ["audiodiff.mel.MelSpec"],
    ],
)
def test_build_refuses_what_is_no_class_of_audiodiff(target):
    with pytest.raises(ValueError, match=r"_target_ .* (is refused|does not exist)"):
        build({"_target_": target, "sample_rate": 16000})


def test_build_refuses_a_target_deep_inside(tmp_path):
    marker = tmp_path / "ran"
    with pytest.raises(ValueError, match="is refused"):
        build({"_target_": "audiodiff.models.MelWhitening", "mel": {"_target_": "os.mkdir", "path": str(marker)}})
    assert not marker.exists()


@pytest.mark.parametrize("arguments", [{}, {"sample_rate": 16000, "n_mel": 80}, {"n_mels": 80}])
def test_build_names_the_arguments_that_do_not_fit(arguments):
    with pytest.raises(ValueError, match=r"audiodiff\.mel\.MelSpec: .*argument.*it takes sample_rate, n_fft"):
        build({"_target_": "audiodiff.mel.MelSpec", **arguments})


def test_build_passes_errors_of_values_on():
    with pytest.raises(ValueError, match="scale must be slaney or htk"):
        build({**MEL, "scale": "bark"})


def test_conf_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert conf_dir().is_absolute()
    assert (conf_dir() / "train.yaml").is_file()
    assert shipped_path("conf") == conf_dir()
    with pytest.raises(FileNotFoundError, match="nowhere is neither in"):
        shipped_path("nowhere")


def test_plugin_is_refused_until_the_user_allows_it(tmp_path, monkeypatch):
    (tmp_path / "my_parts_of_a_test.py").write_text(
        "import os\n\n\nclass Part:\n    def __init__(self, size):\n        self.size = size\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "PLUGINS", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = {"_target_": "my_parts_of_a_test.Part", "size": 3}
    with pytest.raises(ValueError, match="--plugin my_parts_of_a_test"):
        build(spec)
    config.allow_plugin("my_parts_of_a_test")
    assert build(spec).size == 3
    for inside in ("my_parts_of_a_test.os.system", "my_parts_of_a_test.os", "os.system"):
        with pytest.raises(ValueError, match=r"refused|does not exist"):
            build({"_target_": inside})


def test_plugin_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="plugin no_such_module: cannot be imported"):
        config.allow_plugin("no_such_module")
