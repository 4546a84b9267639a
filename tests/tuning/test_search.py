"""A study finds what is good, is shared, outlives those who are killed, and says what it found."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from hydra import compose, initialize_config_dir

from audiodiff.training.hydra_config import composed, plain
from audiodiff.tuning.run import shared, tune
from audiodiff.tuning.search import Study, write_report
from audiodiff.tuning.search.report import experiment_of
from audiodiff.tuning.search.study import checked
from audiodiff.utils.config import conf_dir

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

    study.run(picky, 5)
    assert states(study) == ["COMPLETE", "FAIL"] * 2 + ["COMPLETE"]
    assert study.failures() == ["odd", "odd"]
    write_report(study, [], "loss")
    assert "3 trials are complete, 2 could not be trained.\n- odd\n" in (tmp_path / "some" / "report.md").read_text()

    def never(trial, values, folder):
        raise ValueError("width must divide")

    for n_trials in (1, 3, 20):
        with pytest.raises(ValueError, match="first trials could not be trained: width must divide"):
            Study(tmp_path / f"none of {n_trials}", "bowl", SPACE).run(never, n_trials)


def test_what_exceeds_memory_or_is_not_finite_is_a_result_and_ends_no_study(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)

    def hungry(trial, values, folder):
        if trial.number == 1:
            raise RuntimeError("out of memory\nsecond line")
        return float("nan") if trial.number == 2 else bowl(trial, values, folder)

    study.run(hungry, 4)
    assert states(study) == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    assert study.failures() == ["out of memory"]


def test_suggestions_are_a_function_of_seed_and_number(tmp_path):
    def values(folder, seed):
        study = Study(tmp_path / folder, "bowl", SPACE, startup_trials=3, seed=seed)
        study.run(bowl, 3)
        again = Study(tmp_path / folder, "bowl", SPACE, startup_trials=3, seed=seed)
        again.run(bowl, 8)
        return [trial.params for trial in again.study.get_trials(deepcopy=False)]

    one, same, other = values("one", 0), values("same", 0), values("other", 1)
    assert one == same
    assert one != other
    assert len({params["x"] for params in one}) == 8


def test_study_that_was_asked_another_question_is_not_gone_on_with(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)
    study.run(bowl, 2, {"metric": "loss"})
    Study(tmp_path, "bowl", SPACE).run(bowl, 3, {"metric": "loss"})
    with pytest.raises(ValueError, match=r"holds a study with metric=loss.*another study=NAME"):
        Study(tmp_path, "bowl", SPACE).run(bowl, 4, {"metric": "error"})
    with pytest.raises(ValueError, match="holds a study with space="):
        Study(tmp_path, "bowl", {"x": {"low": 0, "high": 1}}).run(bowl, 4, {"metric": "loss"})


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


def test_study_that_two_workers_share_ends_no_trial_too_many(tmp_path, monkeypatch):
    """Both see room for the last trial and ask at once: the one that came second is dropped before it runs."""
    Study(tmp_path, "bowl", SPACE).run(bowl, 2)
    studies, together, ran = [Study(tmp_path, "bowl", SPACE) for _ in range(2)], threading.Barrier(2, timeout=60), []
    for study in studies:
        ask = study.study.ask
        monkeypatch.setattr(study.study, "ask", lambda ask=ask: (together.wait(), ask())[1])

    def slow(trial, values, folder):
        ran.append(trial.number)
        time.sleep(0.5)
        return bowl(trial, values, folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda study: study.run(slow, 3), studies))
    assert ran == [2]
    assert states(studies[0]) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    assert studies[1].ended() == 3
    assert studies[1].failures() == []


SHARER = """
import sys, time
from audiodiff.tuning.search import Study
study = Study(sys.argv[1], "bowl", {"x": {"low": -3.0, "high": 3.0}}, startup_trials=99)
print("ready", flush=True)
sys.stdin.readline()
study.run(lambda trial, values, folder: (time.sleep(0.01), values["x"] ** 2)[1], 9)
"""


def test_study_that_processes_share_ends_as_many_trials_as_are_wanted(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([sys.executable, "-c", SHARER, str(tmp_path)], **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    study = Study(tmp_path, "bowl", {"x": {"low": -3.0, "high": 3.0}})
    assert study.ended() == states(study).count("COMPLETE") == 9
    assert "RUNNING" not in states(study)


def test_queued_trial_of_a_dead_process_keeps_its_place_against_a_newer_one(tmp_path):
    """The newer one has a higher number, so that it is it which is dropped, not the one with a checkpoint."""
    study = Study(tmp_path, "bowl", SPACE)
    study.study.enqueue_trial({"x": 0.0, "y": "a", "n": 1})
    assert study._begun(0) is None
    queued, study.study.ask = study.study.ask, lambda: optuna.trial.Trial(study.study, _created(study))
    assert study._begun(1) is None
    study.study.ask = queued
    assert study._begun(1).number == 0
    assert states(study) == ["RUNNING", "FAIL"]


def _created(study):
    return study.study._storage.create_new_trial(study.study._study_id)


def test_trial_of_a_process_that_died_before_it_showed_itself_blocks_the_last_place_no_longer_than_it_is_stale(
    tmp_path,
):
    study = Study(tmp_path, "bowl", SPACE, stale_seconds=1.0)
    study.study.ask()
    begun = time.monotonic()
    study.run(bowl, 1)
    assert 0.5 < time.monotonic() - begun < 30
    assert states(study) == ["FAIL", "COMPLETE"]


def test_trial_that_lives_is_left_alone(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)

    def watched(trial, values, folder):
        assert Study(tmp_path, "bowl", SPACE).revive() == []
        return bowl(trial, values, folder)

    study.run(watched, 1)
    assert states(study) == ["COMPLETE"]


def test_trial_that_has_not_shown_itself_yet_is_not_taken_for_the_dead_one_before_it(tmp_path):
    study = Study(tmp_path, "bowl", SPACE)
    study.study.enqueue_trial({"x": 0.0, "y": "a", "n": 1}, user_attrs={"goes_on": 0, "again": 1})
    folder = tmp_path / "trials" / "0"
    folder.mkdir()
    (folder / "alive.json").write_text(json.dumps({"trial": 7, "host": "elsewhere", "pid": 1}))
    os.utime(folder / "alive.json", (0, 0))
    study.study.ask()
    assert study.revive() == []
    study.stale_seconds = -1.0
    assert study.revive() == [0]


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


@pytest.mark.parametrize(
    ("base", "values"),
    [
        (["experiment=quickstart", "trainer.max_steps=7"], {"times": "early", "optim.optimizer.lr": 2e-3}),
        (["experiment=quickstart", "terms=[stft,phase]"], {"optim.optimizer.lr": 1e-5, "ema_decay": 0.98}),
        (["data.path=recordings", "lr=wsd"], {"terms": "[mel,stft]", "optim": "lion"}),
        (["experiment=quickstart", "freeze=[denoiser.network.stages.0.*]", "data.path='a b'"], {"schedule": "laplace"}),
    ],
)
def test_best_experiment_composes_to_the_values_that_were_found(tmp_path, base, values):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(experiment_of(base, values))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        found = compose("train", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=best"])
    wanted = composed([*base, *(f"{name}={value}" for name, value in values.items())])
    assert plain(found) == plain(wanted)
    assert plain(found) != plain(composed(base))


def test_overrides_of_training_reach_every_trial_as_they_were_typed():
    typed = ["freeze=[denoiser.network.stages.0.*]", "data.path='a b'", "+info.of=${name}", "terms=[stft,phase]"]
    cfg = tuned(*shared(["study=mine", "space=network", *typed, "seed=3"]))
    assert plain(cfg)["base"] == typed
    assert (cfg.study, cfg.seed) == ("mine", 3)
    assert composed(plain(cfg)["base"]).info.of == "run"


@pytest.mark.parametrize("space", ["loss", {"model.denoiser.schedule": {"choices": [1]}}])
def test_losses_that_mean_different_things_are_not_compared(tmp_path, space):
    chosen = ["space=loss"] if space == "loss" else []
    cfg = tuned(*chosen, f"folder={tmp_path}")
    if not chosen:
        cfg.space = space
    with pytest.raises(ValueError, match=r"metric=valid/loss means something else.*metric=lsd/model"):
        tune(cfg)


def tuned(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("tune", list(overrides))


def test_names_that_there_are_not_are_told_before_the_first_trial(tmp_path):
    for wrong in ("base=[n_trails]", "+space.optim.optimizer.rate={choices: [1]}"):
        cfg = tuned(f"folder={tmp_path}")
        if wrong.startswith("base"):
            cfg.base = ["n_trails=3"]
        else:
            cfg.space = {"optim.optimizer.rate": {"choices": [1]}}
        with pytest.raises(ValueError, match=r"(n_trails|optim.optimizer.rate): there is no such setting"):
            tune(cfg)
    assert not list(tmp_path.glob("trials/*"))


@pytest.mark.parametrize("space", sorted(path.stem for path in (conf_dir() / "space").glob("*.yaml")))
def test_every_space_is_one_of_overrides_that_there_are(space):
    for name, entry in checked_space(tuned(f"space={space}")).items():
        values = entry.get("choices") or [entry["low"], entry["high"]]
        for value in values:
            assert composed(["experiment=quickstart", f"{name}={value}"])


def checked_space(cfg):
    space = plain(cfg.space)
    checked(space)
    return space


TINY = [
    "model.denoiser.network.width=16",
    "model.denoiser.network.dilations=[1]",
    "model.denoiser.network.n_heads=2",
    "model.denoiser.network.attention_window=4",
    "data.batch_size=2",
    "data.validation_clips=2",
    "data.n_samples=8192",
    "previews=0",
    "trainer.max_steps=30",
    "trainer.val_check_interval=10",
    "trainer.checkpoint_every=5",
    "log_every=1",
]


@pytest.mark.slow
def test_two_processes_share_a_study_and_one_of_them_is_killed(tmp_path):
    given = ["n_trials=4", f"folder={tmp_path}", "stale_seconds=15"]
    call = [sys.executable, "-m", "audiodiff.tune", *given, "experiment=quickstart", *TINY]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    given = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    one, other = (subprocess.Popen(call, **given) for _ in range(2))
    deadline = time.monotonic() + 200
    trial = None
    while trial is None and one.poll() is None and time.monotonic() < deadline:
        for path in tmp_path.glob("trials/*/alive.json"):
            told = json.loads(path.read_text() or "{}")
            if told.get("pid") == one.pid and (path.parent / "metrics.jsonl").is_file():
                trial = path.parent
        time.sleep(0.05)
    assert one.poll() is None, one.communicate()[0]
    os.kill(one.pid, signal.SIGKILL)
    one.wait(30)
    out, _ = other.communicate(timeout=300)
    assert other.returncode == 0, out
    study = Study(tmp_path, "tune", {"x": {"low": 0, "high": 1}})
    assert study.ended() == 4
    assert states(study).count("FAIL") == 1
    assert any(t.user_attrs.get("goes_on") == int(trial.name) for t in study.study.get_trials(deepcopy=False))
    assert (tmp_path / "experiment" / "best.yaml").is_file()
    assert str(tmp_path / "experiment" / "best.yaml") in out


def grid(folder, *overrides):
    call = [sys.executable, "-m", "audiodiff.train", "--multirun", "experiment=quickstart", *TINY, "verdict=false"]
    call = [word for word in call if word not in ("trainer.max_steps=30", "trainer.val_check_interval=10")]
    call += ["trainer.max_steps=2", "trainer.val_check_interval=2", f"hydra.sweep.dir={folder}", *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_grid_gives_each_combination_a_run_of_its_own_and_tells_all_of_them(tmp_path):
    done = grid(tmp_path, "seed=0,1", "optim.optimizer.lr=1e-3,3e-3")
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("*/model.safetensors"))
    assert len(runs) == 4
    assert len({frozenset(p.name for p in run.parent.iterdir() if "events" not in p.name) for run in runs}) == 1
    configs = [yaml.safe_load((run.parent / "config.yaml").read_text()) for run in runs]
    assert len({(c["seed"], c["optim"]["optimizer"]["lr"]) for c in configs}) == 4
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[0] == "| job | seed | optim.optimizer.lr | valid/loss |"
    assert len(lines) == 6


@pytest.mark.slow
def test_grid_goes_on_behind_a_combination_that_cannot_be(tmp_path):
    done = grid(tmp_path, "model.denoiser.network.n_heads=3,2")
    assert done.returncode != 0
    assert [path.parent.name for path in tmp_path.glob("*/model.safetensors")] == ["1"]
    good, bad = (tmp_path / "summary.md").read_text().splitlines()[2:]
    assert good.startswith("| 1 | 2 | ")
    assert bad.startswith("| 0 | 3 | ")
    assert "n_heads=3" in bad


@pytest.mark.slow
def test_grid_in_one_folder_is_refused(tmp_path):
    done = grid(tmp_path, "seed=0,1", f"run_dir={tmp_path / 'one'}")
    assert "is one folder for all jobs: say hydra.sweep.dir=FOLDER" in done.stderr
    assert not list(tmp_path.rglob("model.safetensors"))
