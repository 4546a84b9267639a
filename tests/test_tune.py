"""A study finds what is good, is shared, outlives those who are killed, and says what it found."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from audiodiff.compose import composed
from audiodiff.searching import Study, write_report
from audiodiff.searching.report import experiment_of
from audiodiff.searching.study import checked

optuna = pytest.importorskip("optuna")
SPACE = {"x": {"low": -3.0, "high": 3.0}, "y": {"choices": ["a", "b"]}, "n": {"low": 1, "high": 64, "log": True}}


def bowl(trial, values, folder):
    return (values["x"] - 1) ** 2 + (values["y"] == "b")


def states(study):
    return [trial.state.name for trial in study.study.get_trials(deepcopy=False)]


def test_study_finds_the_bottom_of_a_bowl(tmp_path):
    study = Study(tmp_path, "bowl", SPACE, startup_trials=10)
    study.run(bowl, 60)
    assert study.study.best_value < 0.2
    assert study.study.best_params["y"] == "a"
    assert isinstance(study.study.best_params["n"], int)


def test_study_goes_on_where_it_stopped_and_ends_when_enough_have_ended(tmp_path):
    Study(tmp_path, "bowl", SPACE).run(bowl, 3)
    seen = []
    again = Study(tmp_path, "bowl", SPACE)
    again.run(lambda *given: seen.append(given) or bowl(*given), 5)
    assert len(seen) == 2
    assert again.ended() == 5


def test_pruned_trials_count_and_are_told_early(tmp_path):
    study = Study(tmp_path, "bowl", SPACE, startup_trials=3)
    steps = []

    def slow(trial, values, folder):
        for step in range(1, 11):
            trial.report(trial.number if trial.number < 8 else 100.0, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        steps.append(trial.number)
        return float(trial.number)

    study.run(slow, 12)
    assert states(study).count("PRUNED") >= 4
    assert not {8, 9, 10, 11} & set(steps)


def test_values_that_cannot_be_trained_are_failures_and_a_study_of_nothing_else_ends(tmp_path):
    study = Study(tmp_path / "some", "bowl", SPACE)

    def picky(trial, values, folder):
        if trial.number % 2:
            raise ValueError("odd")
        return bowl(trial, values, folder)

    study.run(picky, 3)
    assert states(study).count("FAIL") == 2

    def never(trial, values, folder):
        raise ValueError("width must divide")

    with pytest.raises(ValueError, match="first 3 trials could not be trained: width must divide"):
        Study(tmp_path / "none", "bowl", SPACE).run(never, 3)


def test_trial_of_a_dead_process_is_failed_and_done_again_in_its_folder(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)
    trial = study.study.ask()
    values = study._suggested(trial)
    folder = tmp_path / "trials" / str(trial.number)
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    import socket

    (folder / "alive.json").write_text(
        json.dumps({"trial": trial.number, "host": socket.gethostname(), "pid": dead.pid})
    )
    seen = []
    study.run(lambda t, v, f: seen.append((v, f)) or bowl(t, v, f), 1)
    assert seen == [(values, folder)]
    assert states(study) == ["FAIL", "COMPLETE"]


def test_trial_that_lives_is_left_alone(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)

    def watched(trial, values, folder):
        assert Study(tmp_path, "bowl", SPACE).revive() == []
        return bowl(trial, values, folder)

    study.run(watched, 1)
    assert states(study) == ["COMPLETE"]


@pytest.mark.parametrize(
    "space",
    [{}, {"x": {"low": 1, "high": 0}}, {"x": {"choices": []}}, {"x": 3}, {"x": {"low": 0, "high": 1, "log": True}}],
)
def test_space_that_makes_no_sense_is_refused(space):
    with pytest.raises(ValueError, match="space"):
        checked(space)


def test_report_names_the_best_and_what_mattered(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)
    assert write_report(study, [], "loss") is None
    study.run(bowl, 40)
    write_report(study, ["experiment=quickstart"], "loss")
    report = (tmp_path / "report.md").read_text()
    best = study.study.best_trial
    assert report.splitlines()[2].startswith(f"| {best.number} | {best.value:.5f} |")
    weights = dict(line[2:].split(": ") for line in report.splitlines() if line.startswith("- "))
    assert float(weights["n"]) < max(float(weights["x"]), float(weights["y"]))
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_best_experiment_composes_to_the_values_that_were_found(tmp_path):
    values = {"times": "early", "optim.optimizer.lr": 2e-3, "ema_decay": 0.98}
    text = experiment_of(["experiment=quickstart", "trainer.max_steps=7"], values)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(text)
    from hydra import compose, initialize_config_dir

    from audiodiff.config import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=best"])
    plain = composed(["experiment=quickstart"])
    assert cfg.optim.optimizer.lr == 2e-3
    assert cfg.trainer.max_steps == 7
    assert cfg.ema_decay == 0.98
    assert cfg.loss.times._target_ == composed(["times=early", "data.path=x"]).loss.times._target_
    assert cfg.model.denoiser.network.width == plain.model.denoiser.network.width
    assert yaml.safe_load(text)


TINY = [
    "model.denoiser.network.width=16",
    "model.denoiser.network.dilations=[1]",
    "model.denoiser.network.n_heads=2",
    "model.denoiser.network.reach=4",
    "data.batch_size=2",
    "data.validation_clips=2",
    "data.n_samples=8192",
    "previews=0",
    "trainer.max_steps=30",
    "trainer.val_check_interval=10",
    "trainer.checkpoint_every=5",
]


@pytest.mark.slow
def test_two_processes_share_a_study_and_one_of_them_is_killed(tmp_path):
    base = f"base=[experiment=quickstart,{','.join(TINY)}]".replace("dilations=[1]", "dilations=[1]")
    call = [sys.executable, "-m", "audiodiff.tune", "n_trials=4", base, f"folder={tmp_path}", "stale_seconds=15"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    given = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    one, other = (subprocess.Popen(call, **given) for _ in range(2))
    deadline = time.monotonic() + 200
    trial = None
    while trial is None and time.monotonic() < deadline:
        for path in tmp_path.glob("trials/*/alive.json"):
            told = json.loads(path.read_text() or "{}")
            if told.get("pid") == one.pid and (path.parent / "metrics.jsonl").is_file():
                trial = path.parent
        time.sleep(0.05)
    os.kill(one.pid, signal.SIGKILL)
    one.wait(30)
    out, _ = other.communicate(timeout=300)
    assert other.returncode == 0, out
    study = Study(tmp_path, "tune", {"x": {"low": 0, "high": 1}})
    assert study.ended() >= 4
    assert states(study).count("FAIL") == 1
    assert any(t.user_attrs.get("goes_on") == int(trial.name) for t in study.study.get_trials(deepcopy=False))
    assert (tmp_path / "experiment" / "best.yaml").is_file()
    assert str(tmp_path / "experiment" / "best.yaml") in out


@pytest.mark.slow
def test_grid_gives_each_combination_a_run_of_its_own(tmp_path):
    call = [sys.executable, "-m", "audiodiff.train", "--multirun", "experiment=quickstart", *TINY, "verdict=false"]
    call += ["trainer.max_steps=2", "trainer.val_check_interval=2", "seed=0,1", "optim.optimizer.lr=1e-3,3e-3"]
    call = [word for word in call if word not in ("trainer.max_steps=30", "trainer.val_check_interval=10")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*call, f"hydra.sweep.dir={tmp_path}"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("*/model.safetensors"))
    assert len(runs) == 4
    configs = [yaml.safe_load((run.parent / "config.yaml").read_text()) for run in runs]
    assert len({(c["seed"], c["optim"]["optimizer"]["lr"]) for c in configs}) == 4
