"""What a command can know by names, paths and suffixes it says before torch is imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from support.processes import environment

HEAVY = ("torch", "numba", "scipy", "librosa", "lightning", "matplotlib", "onnxruntime")
REFUSED = [
    "vocode mel.npy out.wav --mel-preset hifi",
    "vocode mel.npy out.wav --model speach-16k",
    "vocode mel.npy out.wav --solver ddmi",
    "vocode mel.npy out.wav --times evn-t",
    "vocode mel.npy out.wav --start griffn",
    "vocode mel.npy out.wav --device gpu",
    "vocode mel.npy out.wav --precision half",
    "vocode mel.npy out.wav --weights rw",
    "vocode mel.npy out.wav --chunk-seconds -1",
    "vocode mel.npy out.wav --steps 0",
    "vocode mel.npy out.wav --seed -1",
    "vocode mel.npy out.wav --stps 4",
    "vocode none.npy out.wav",
    "vocode mel.npy out.mp4",
    "vocode mel.npy none/out.wav",
    "resynth sound.wav there.wav",
    "resynth none.wav out.wav",
    "resynth empty out",
    "mel sound.wav out.txt",
    "mel sound.wav out.npy --mel-preset hifi",
    "generate out --model drms",
    "generate out --label kik",
    "generate out --init none.wav",
    "restore none.wav out.wav --task declip",
    "score sound.wav none.wav",
    "score sound.wav sound.wav --plot none/out.png",
    "plot none.wav out.png",
    "plot sound.wav out.jpg",
    "plot sound.wav none/out.png",
    "info speach-16k",
    "doctor speach-16k",
    "export speach-16k out.onnx",
    "export speech-16k out.onnx --host sherpa",
    "export speech-16k out.pt",
    "eval speach-16k empty",
    "eval speech-16k none",
    "bench --models speach-16k",
    "scan none",
    "shard none out",
    "calibrate none",
    "tune-times speech-16k none",
    "regenerate none.json out.wav",
    "push speach-16k me/voice",
]
SCRIPT = f"""
import contextlib, io, json, sys
from audiodiff.cli import main
told = {{}}
for line in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        status = main(line.split())
    told[line] = [status, err.getvalue(), [name for name in {HEAVY} if name in sys.modules]]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("startup")
    (folder / "empty").mkdir()
    np.save(folder / "mel.npy", np.zeros((80, 20), np.float32))
    for name in ("sound.wav", "there.wav"):
        soundfile.write(folder / name, np.zeros(8000), 16000)
    return folder


@pytest.fixture(scope="module")
def told(folder):
    """What each line says, by one process for all; the first that imports something heavy spoils those behind it."""
    run = [sys.executable, "-c", SCRIPT]
    call = subprocess.run(
        run, cwd=folder, env=environment(), input=json.dumps(REFUSED), capture_output=True, text=True, check=True
    )
    return json.loads(call.stdout)


@pytest.mark.parametrize("line", REFUSED)
def test_refusal_imports_nothing_heavy(told, line):
    status, said, imported = told[line]
    assert status == 2
    assert said.startswith("audiodiff: ")
    assert said.count("\n") == 1
    assert imported == []


@pytest.mark.parametrize("line", ["info", "info speech-24k --json", "plot sound.wav there.wav out.png"])
def test_command_works_without_torch(folder, line):
    script = f"""
import sys
from audiodiff.cli import main
status = main({line!r}.split())
print()
print(status, [name for name in ("torch", "numba", "scipy", "librosa", "lightning") if name in sys.modules])
"""
    run = [sys.executable, "-c", script]
    call = subprocess.run(run, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    assert call.stdout.splitlines()[-1] == "0 []"


def test_first_sound_imports_neither_numba_nor_scipy(folder):
    from audiodiff.griffin_lim.kernels import dispatch

    dispatch.prepare()  # on a machine that has not compiled the loops, they are now
    script = f"""
import sys
from audiodiff.cli import main
status = main("vocode mel.npy first.wav --model speech-16k".split())
print(status, [name for name in {(*HEAVY[1:], "torch._dynamo")} if name in sys.modules])
"""
    run = [sys.executable, "-c", script]
    call = subprocess.run(run, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    assert call.stdout == "0 []\n"


@pytest.mark.parametrize(
    ("program", "argument", "words"),
    [
        ("train", "optimzer=adam", "did you mean optimizer?"),
        ("train", "optimizer=adm", "did you mean optimizer=adam?"),
        ("train", "data.path=none", "none: no such folder"),
        ("train", "resume=auto", "nothing to learn from"),
        ("train", "data.path=. init_from=speach-16k", "speach-16k: no such model"),
        ("tune", "optimzer=adam", "did you mean optimizer?"),
        ("tune", "n_trails=3", "did you mean n_trials?"),
    ],
)
def test_training_says_what_is_misspelt_before_torch_is_imported(folder, program, argument, words):
    script = f"""
import runpy, sys
try:
    runpy.run_module("audiodiff.{program}", run_name="__main__")
finally:
    print([name for name in {HEAVY} if name in sys.modules])
"""
    run = [sys.executable, "-c", script, *argument.split()]
    call = subprocess.run(run, cwd=folder, env=environment(), capture_output=True, text=True)
    assert call.returncode == 2
    assert words in call.stderr
    assert call.stdout == "[]\n"
