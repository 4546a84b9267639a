"""Classes of the user's own on the command line."""

import json

import pytest

from audiodiff.cli import main
from audiodiff.utils import config

PART = "from audiodiff.diffusion.solvers import DDIM\n\n\nclass Mine(DDIM):\n    '''The usual one.'''\n"


@pytest.fixture
def call(tmp_path, monkeypatch, tiny_model_path):
    """What resynthesises, but for sounds and options, in a folder with a module of its own."""
    (tmp_path / "my_solver_of_a_test.py").write_text(PART)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "PLUGINS", set())
    return ["resynth", "--model", str(tiny_model_path), "--steps", "2"]


@pytest.mark.parametrize("plugin", [["--plugin", "my_solver_of_a_test"], ["--plugin=my_solver_of_a_test"]])
def test_solver_of_a_plugin_is_named_by_its_class(tmp_path, call, speech, plugin):
    mine = ["--solver", "my_solver_of_a_test.Mine", *plugin]
    assert main([*call, str(speech), "usual.wav", "--solver", "ddim"]) == 0
    assert main([*call, str(speech), "mine.wav", *mine]) == 0
    assert (tmp_path / "mine.wav").read_bytes() == (tmp_path / "usual.wav").read_bytes()
    assert json.loads((tmp_path / "mine.wav.json").read_text())["solver"] == "my_solver_of_a_test.Mine"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(speech.read_bytes())
    assert main([*call, "in", "out", *mine, "--workers", "2"]) == 0
    assert (tmp_path / "out" / "a.wav").read_bytes() == (tmp_path / "usual.wav").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--solver", "my_solver_of_a_test.Mine"], "wants --plugin my_solver_of_a_test"),
        (
            ["--solver", "my_solver_of_a_test.DDIM", "--plugin", "my_solver_of_a_test"],
            "no class of my_solver_of",
        ),
        (["--solver", "my_solver_of_a_test.None_", "--plugin", "my_solver_of_a_test"], "does not exist"),
        (["--solver", "ddim", "--plugin", "no_such_module"], "cannot be imported"),
        (["--solver", "ddim", "--plugin="], "cannot be imported"),
    ],
)
def test_what_is_no_class_of_a_plugin_is_one_line(call, speech, capsys, options, said):
    assert main([*call, str(speech), "out.wav", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
