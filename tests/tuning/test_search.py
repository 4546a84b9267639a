"""A study finds what is good, is shared, outlives those who are killed, and says what it found."""

import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE, STDOUT

import pytest
import yaml
from hydra import compose, initialize_config_dir
from support.processes import python, started, wait_until
from support.training import TINY as TINY_RUN
from support.training import steps

from audiodiff.training.hydra_config import composed, plain
from audiodiff.tuning.command import gather_base
from audiodiff.tuning.run import tune
from audiodiff.tuning.search import Study, write_report
from audiodiff.tuning.search.report import experiment_of
from audiodiff.tuning.search.study import check_space
from audiodiff.utils.config import conf_dir
from audiodiff.utils.signals import Stopped

optuna = pytest.importorskip("optuna")
pytest_plugins = ["support.postgresql"]
SPACE = {"x": {"low": -3.0, "high": 3.0}, "y": {"choices": ["a", "b"]}, "n": {"low": 1, "high": 64, "log": True}}


def bowl(trial, values, folder):
    return (values["x"] - 1) ** 2 + (values["y"] == "b")


def states(study):
    return [trial.state.name for trial in study.trials()]


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
    with pytest.raises(ValueError, match="holds a study with search_space="):
        Study(tmp_path, "bowl", {"x": {"low": 0, "high": 1}}).run(bowl, 4, {"metric": "loss"})


WORKER = """
import sys, time
from pathlib import Path
from audiodiff.tuning.search import Study
folder, storage, n_trials, seconds = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), float(sys.argv[4])
study = Study(folder, "bowl", {"x": {"low": -3.0, "high": 3.0}}, startup_trials=99, stale_seconds=6, storage=storage)
def objective(trial, values, folder):
    print(trial.number, flush=True)
    (folder / "checkpoint").touch()
    time.sleep(seconds)
    return values["x"] ** 2
print("ready", flush=True)
sys.stdin.readline()
study.run(objective, n_trials)
"""


def workers(count, folder, storage, n_trials, seconds):
    """Start processes that share a study, and let them begin together."""
    call, pipes = ["-c", WORKER, folder, storage or "", n_trials, seconds], {"stdin": PIPE, "stdout": PIPE}
    processes = [started(*call, **pipes) for _ in range(count)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * count
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def shared_study(folder, storage=None):
    return Study(folder, "bowl", {"x": {"low": -3.0, "high": 3.0}}, startup_trials=99, storage=storage)


@pytest.fixture(params=["journal", "postgresql"])
def storage(request):
    return None if request.param == "journal" else request.getfixturevalue("postgresql")


@pytest.mark.slow
def test_study_that_processes_share_has_exactly_n_trials(tmp_path, storage):
    for process in workers(3, tmp_path, storage, 9, 0.01):
        process.communicate(timeout=300)
        assert process.returncode == 0
    study = shared_study(tmp_path, storage)
    assert study.ended() == states(study).count("COMPLETE") == 9
    assert "RUNNING" not in states(study)
    assert len({trial.params["x"] for trial in study.trials("COMPLETE")}) == 9


@pytest.mark.slow
def test_study_retries_the_trial_of_a_killed_process(tmp_path, storage):
    """The other process runs the values of the killed one again, in its folder, and no trial too many."""
    killed, survivor = workers(2, tmp_path, storage, 3, 3.0)
    number = int(killed.stdout.readline())
    killed.kill()
    killed.wait(30)
    survivor.communicate(timeout=300)
    assert survivor.returncode == 0
    study = shared_study(tmp_path, storage)
    trials = {trial.number: trial for trial in study.trials()}
    assert trials[number].state.name == "FAIL"
    retried = [t for t in trials.values() if t.number != number and t.user_attrs.get("folder") == str(number)]
    assert [(t.state.name, t.params) for t in retried] == [("COMPLETE", trials[number].params)]
    assert study.ended() == 3
    assert not (tmp_path / "trials" / str(retried[0].number)).exists()


def test_study_gives_up_a_trial_that_kills_each_process(tmp_path):
    """Once is chance, twice is the trial: its values are not queued a third time, and another takes its place."""
    study = Study(tmp_path, "bowl", SPACE, stale_seconds=0)
    for number in range(2):
        trial = study.study.ask()
        assert trial.number == number
        study._fail_abandoned()
    assert states(study) == ["FAIL", "FAIL"]
    study.run(bowl, 1)
    assert states(study) == ["FAIL", "FAIL", "COMPLETE"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_study_resumes_the_trial_that_a_signal_stopped(tmp_path, stop):
    seen = []

    def stopped(trial, values, folder):
        seen.append((values, folder))
        raise stop

    with pytest.raises(Stopped):
        Study(tmp_path, "bowl", SPACE).run(stopped, 1)
    again = Study(tmp_path, "bowl", SPACE)
    again.run(lambda t, v, f: seen.append((v, f)) or bowl(t, v, f), 1)
    assert seen[0] == seen[1]
    assert states(again) == ["FAIL", "COMPLETE"]


def test_study_drops_the_newer_of_two_trials_for_one_place(tmp_path, monkeypatch):
    """Both processes see room for the last trial and ask at once."""
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
    assert studies[1].failures() == []


def test_study_leaves_a_running_trial_alone(tmp_path):
    study = Study(tmp_path, "bowl", SPACE, stale_seconds=0)

    def watched(trial, values, folder):
        Study(tmp_path, "bowl", SPACE, stale_seconds=0)._fail_abandoned()
        return bowl(trial, values, folder)

    study.run(watched, 1)
    assert states(study) == ["COMPLETE"]


def test_study_survives_being_taken_for_dead(tmp_path):
    """A paused process finds on waking that another has failed its trial."""
    study = Study(tmp_path, "bowl", SPACE)

    def failed_by_another(trial, values, folder):
        if trial.number == 0:
            study.study.tell(0, state=optuna.trial.TrialState.FAIL)
        return bowl(trial, values, folder)

    study.run(failed_by_another, 1)
    assert states(study) == ["FAIL", "COMPLETE"]


def test_database_of_another_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    Study(tmp_path, "bowl", SPACE, storage=url).run(bowl, 1)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("update alembic_version set version_num = 'v1.2.a'")
    with pytest.raises(ValueError, match=r"study.db: The runtime optuna version .* no longer compatible"):
        Study(tmp_path, "bowl", SPACE, storage=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "postgresql://ann:secret@127.0.0.1:1/db",
            r"^postgresql://ann:\*\*\*@127.0.0.1:1/db: .*refused.*check the address",
        ),
        ("nonsense", "give a URL such as postgresql://"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
    ],
)
def test_database_that_cannot_be_used_is_named_in_one_line(tmp_path, url, message):
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(ValueError, match=message) as raised:
        Study(tmp_path, "bowl", SPACE, storage=url)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "space",
    [{}, {"x": {"low": 1, "high": 0}}, {"x": {"choices": []}}, {"x": 3}, {"x": {"low": 0, "high": 1, "log": True}}],
)
def test_space_that_makes_no_sense_is_refused(space):
    with pytest.raises(ValueError, match="space"):
        check_space(space)


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
        (["experiment=quickstart", "trainer.max_steps=7"], {"time_sampling": "early", "optimizer.lr": 2e-3}),
        (["experiment=quickstart", "auxiliary=[stft,phase]"], {"optimizer.lr": 1e-5, "ema_decay": 0.98}),
        (["data.path=recordings", "lr_schedule=wsd"], {"auxiliary": "[mel,stft]", "optimizer": "lion"}),
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
    typed = ["freeze=[denoiser.network.stages.0.*]", "data.path='a b'", "+info.of=${name}", "auxiliary=[stft,phase]"]
    cfg = tuned(*gather_base(["study=mine", "search_space=network", *typed, "seed=3"]))
    assert plain(cfg)["base"] == typed
    assert (cfg.study.name, cfg.seed) == ("mine", 3)
    assert composed(plain(cfg)["base"]).info.of == "run"


@pytest.mark.parametrize("space", ["loss", {"model.denoiser.schedule": {"choices": [1]}}])
def test_losses_that_mean_different_things_are_not_compared(tmp_path, space):
    chosen = ["search_space=loss"] if space == "loss" else []
    cfg = tuned(*chosen, f"folder={tmp_path}")
    if not chosen:
        cfg.search_space = space
    with pytest.raises(ValueError, match=r"metric=valid/loss means something else.*metric=lsd/model"):
        tune(cfg)


def tuned(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("tune", list(overrides))


def test_names_that_there_are_not_are_told_before_the_first_trial(tmp_path):
    for wrong in ("base=[n_trails]", "+search_space.optimizer.rate={choices: [1]}"):
        cfg = tuned(f"folder={tmp_path}")
        if wrong.startswith("base"):
            cfg.base = ["n_trails=3"]
        else:
            cfg.search_space = {"optimizer.rate": {"choices": [1]}}
        with pytest.raises(ValueError, match=r"(n_trails|optimizer.rate): there is no such setting"):
            tune(cfg)
    assert not list(tmp_path.glob("trials/*"))


@pytest.mark.parametrize("space", sorted(path.stem for path in (conf_dir() / "search_space").glob("*.yaml")))
def test_every_space_is_one_of_overrides_that_there_are(space):
    for name, entry in checked_space(tuned(f"search_space={space}")).items():
        values = entry.get("choices") or [entry["low"], entry["high"]]
        for value in values:
            assert composed(["experiment=quickstart", f"{name}={value}"])


def checked_space(cfg):
    space = plain(cfg.search_space)
    check_space(space)
    return space


TINY = [*TINY_RUN, *steps(30), "trainer.val_check_interval=10"]


@pytest.mark.slow
def test_search_resumes_the_training_of_a_killed_process(tmp_path):
    options = ["n_trials=4", f"folder={tmp_path}", "stale_seconds=10"]
    call = ["-m", "audiodiff.tune", *options, *TINY]
    killed, survivor = (started(*call, stdout=PIPE, stderr=STDOUT) for _ in range(2))
    wait_until(lambda: len(list(tmp_path.glob("trials/*/last.ckpt"))) == 2, killed, 200)
    killed.kill()
    killed.wait(30)
    output, _ = survivor.communicate(timeout=300)
    assert survivor.returncode == 0, output
    study = Study(tmp_path, "tune", {"x": {"low": 0, "high": 1}})
    assert study.ended() == 4
    (dead,) = study.trials("FAIL")
    assert any(t.params == dead.params for t in study.trials("COMPLETE", "PRUNED"))
    assert f"going on from {tmp_path}/trials/{dead.number}/last.ckpt" in output
    assert str(tmp_path / "experiment" / "best.yaml") in output


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_search_that_a_signal_stops_is_resumed_by_its_command(tmp_path, number, status):
    call = ["-m", "audiodiff.tune", "n_trials=1", f"folder={tmp_path}", "pruner=none", *TINY]
    first = started(*call, stdout=PIPE, stderr=STDOUT)
    wait_until(lambda: list(tmp_path.glob("trials/*/last.ckpt")), first, 200)
    first.send_signal(number)
    output, _ = first.communicate(timeout=300)
    assert first.returncode == status, output
    assert "audiodiff.tune: stopped; run the same command again to go on" in output
    assert "Traceback" not in output
    second = python(*call)
    assert second.returncode == 0, second.stderr
    assert f"going on from {tmp_path}/trials/0/last.ckpt" in second.stdout + second.stderr


def grid(folder, *overrides):
    call = ["-m", "audiodiff.train", "--multirun", *TINY_RUN, *steps(2), f"hydra.sweep.dir={folder}", *overrides]
    return python(*call, timeout=300)


@pytest.mark.slow
def test_grid_gives_each_combination_a_run_of_its_own_and_tells_all_of_them(tmp_path):
    done = grid(tmp_path, "seed=0,1", "optimizer.lr=1e-3,3e-3")
    assert done.returncode == 0, done.stderr
    runs = sorted(tmp_path.glob("*/model.safetensors"))
    assert len(runs) == 4
    assert len({frozenset(p.name for p in run.parent.iterdir() if "events" not in p.name) for run in runs}) == 1
    configs = [yaml.safe_load((run.parent / "config.yaml").read_text()) for run in runs]
    assert len({(c["seed"], c["optimizer"]["lr"]) for c in configs}) == 4
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[0] == "| job | seed | optimizer.lr | valid/loss |"
    assert len(lines) == 6


@pytest.mark.slow
def test_grid_goes_on_behind_a_combination_that_cannot_be(tmp_path):
    done = grid(tmp_path, "model.denoiser.network.n_heads=3,2")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
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
