"""What a command can know by names, paths and suffixes it says before torch is imported."""

import json

import numpy as np
import pytest
import soundfile
from support.processes import python

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
    "push speech-16k voice --out out",
    "push speech-16k me/voice/two --out out",
    "vocode mel.npy out.wav --times 0,1",
    "vocode mel.npy out.wav --times 1,nan,0",
    "vocode mel.npy out.wav --times 1,0 --steps 4",
    "vocode mel.npy out.wav --start griffin-lim=x",
    "vocode mel.npy out.wav --mel-spec none.json",
    "vocode mel.npy out.wav --model drums",
    "vocode sound.wav out.wav",
    "resynth mel.npy out.wav",
    "mel mel.npy out.npy",
    "generate out --seconds nan",
    "generate out --guidance inf --label snare",
    "generate out --guidance -1 --label snare",
    "generate out --init sound.wav --strength 2",
    "generate out --inpaint sound.wav --from nan --to 1",
    "generate out --model speech-16k",
    "generate out --guide speech-16k",
    "generate out --vector none.npy",
    "generate out -n 0",
    "restore sound.wav out.wav --task declip --from 0.5",
    "restore sound.wav out.wav --task declip --cutoff 4000",
    "restore sound.wav out.wav --task gap --from 0.3 --to 0.2",
    "restore sound.wav out.wav --task gap --from nan --to 0.2",
    "restore sound.wav out.wav --task bandwidth --cutoff nan",
    "export speech-16k out.onnx --opset 3",
    "export speech-16k out.onnx --guidance nan",
    "eval drums empty",
    "eval speech-16k empty --clips 0",
    "eval speech-16k empty --seconds nan",
    "eval speech-16k empty --precisions float31",
    "bench --models drums",
    "scan empty --min-seconds nan",
    "scan empty --min-seconds -1",
    "shard empty empty",
    "shard empty out --seconds nan",
    "shard empty out --chunk-mb 0",
    "shard empty out --max-bad 7",
    "calibrate empty --clips -1",
    "calibrate empty mel=24k-hop25",
    "doctor speech-16k empty --clips 0",
    "tune-times drums empty --out out.safetensors",
    "tune-times speech-16k empty --out out.safetensors --evaluations 0",
    "demo --model drums",
    "demo --generator speech-16k",
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
    return json.loads(python("-c", SCRIPT, cwd=folder, input=json.dumps(REFUSED), check=True).stdout)


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
    call = python("-c", script, cwd=folder, check=True)
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
    call = python("-c", script, cwd=folder, check=True)
    assert call.stdout == "0 []\n"


def test_score_imports_a_pitch_tracker_only_where_pitch_is_asked_for(folder):
    script = """
import sys
from audiodiff.cli import main
for more in ([], ["--pitch"]):
    status = main(["score", "sound.wav", "there.wav", "--json", *more])
    print(status, [name for name in ("librosa", "numba") if name in sys.modules])
"""
    without, pitch = python("-c", script, cwd=folder, check=True).stdout.split("{")[1:]
    assert without.endswith("0 []\n")
    assert not {"periodicity_rmse", "voicing_f1", "wer"} & json.loads("{" + without.removesuffix("0 []\n")).keys()
    assert '"periodicity_rmse": 0.0' in pitch
    assert pitch.endswith("0 ['librosa', 'numba']\n")


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
        ("train", "data.path=. trainer.max_steps=-1", "trainer.max_steps=-1: a whole number of at least 1"),
        ("train", "data.path=. trainer.max_steps=null", "trainer.max_steps=None: a whole number of at least 1"),
        ("train", "data.path=. data.batch_size=1.5", "data.batch_size=1.5: a whole number of at least 1"),
        ("train", "data.path=. seed=-1", "seed=-1: a whole number of at least 0"),
        ("train", "data.path=. optimizer.lr=nan", "optimizer.lr=nan: a number of at least 0"),
        ("train", "data.path=. dropout=2", "dropout=2: a share from 0 to 1"),
        ("train", "data.path=. trainer.precision=fp16", "trainer.precision=fp16: choose one of auto"),
        ("train", "data.path=. +trainer.logger=false", "trainer.logger is set by audiodiff"),
        ("train", "data.path=. resume=maybe", "resume=maybe: choose auto, true or false"),
        ("train", "data.path=. resume=true", "there is no such run to go on with"),
        ("train", "data.path=. adapter=lora", "an adapter changes a trained model"),
        ("train", "data.path=. objective=distillation", "this objective goes on with a trained model"),
        ("train", "data.path=. run_dir=mel.npy/run", "run_dir=mel.npy/run: mel.npy is a file; name a folder"),
        ("train", "data.path=", "data.path=: the value is missing; for none say data.path=null"),
        ("train", "data.path=. init_from=", "init_from=: the value is missing"),
        ("train", "~optimizer", "~optimizer: is needed"),
        ("train", "~data.max_bad", "~data.max_bad: is needed"),
        ("train", "run_dir=2024", "run_dir=2024: is read as another thing than a text; type 'run_dir=\"2024\"'"),
        ("train", "data.path=1e3", "type 'data.path=\"1e3\"'"),
        ("train", "data.path=a,b", "type 'data.path=\"a,b\"'"),
        ("train", "data.path=. run_dir=null", "run_dir=null: name a folder"),
        ("train", "data.path=. loss=null", "loss=None: its settings are wanted"),
        ("train", "data.path=${nowhere}", "data.path=${nowhere}: Interpolation key 'nowhere' not found"),
        ("train", "mel=null", "mel=null: choose one of 16k-hop160"),
        ("train", "seed", "seed: NAME=VALUE is wanted"),
        ("train", "путь=кир", "путь: there is no such setting"),
        ("train", "hydra.run.dir=elsewhere optimzer=adam", "did you mean optimizer?"),
        ("tune", "study=2024", "type 'study.name=\"2024\"'"),
        ("tune", "n_trials=0", "n_trials=0: a whole number of at least 1"),
        ("tune", "data.path=none", "none: no such folder"),
        ("train", "data.path=. run_dir=/dev/null/run", "run_dir=/dev/null/run: /dev/null is a file"),
        ("train", "data.path=. run_dir=/proc/run", "run_dir=/proc/run: cannot be created (No such file or directory)"),
        ("tune", "data.path=. folder=/proc/study", "folder=/proc/study: cannot be created (No such file or directory)"),
        ("tune", "data.path=. run_dir=runs/mine", "run_dir=runs/mine: each trial has a folder of its own"),
        ("train", "-m optimzer=adam,sgd", "did you mean optimizer?"),
        ("train", "-m optimizer=adam,adamv data.path=.", "did you mean optimizer=adam"),
        ("train", "--multirun seed=1,2 data.path=none", "none: no such folder"),
        ("train", "-m seed=1,-2 data.path=.", "seed=-2: a whole number of at least 0"),
        ("train", "-m seed=range(0,3) data.path=. ~optimizer", "~optimizer: is needed"),
        ("train", "hydra.mode=MULTIRUN data.path=кир seed=1,2", "type 'data.path=\"кир\"'"),
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
    call = python("-c", script, *argument.split(), cwd=folder)
    assert call.returncode == 2
    assert words in call.stderr
    assert call.stdout == "[]\n"
