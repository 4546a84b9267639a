"""A batch on a real Ray cluster of two nodes: the bytes of one process, also when a node dies."""

import subprocess

import pytest
from support.batches import command, is_complete, sounds, start, wait_for_outputs, write_recordings
from support.processes import environment

from audiodiff.cli import main


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1:1", "nobody answers there"), ("nonsense", "--ray nonsense: ")]
)
def test_cluster_that_is_not_there_is_refused_in_one_line(tmp_path, tiny_model_path, capsys, address, said):
    pytest.importorskip("ray")
    folder = write_recordings(tmp_path / "in", 1)
    call = ["resynth", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_path), "--ray", address]
    assert main(call) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert "ray start --head" in lines[-1]


def test_cluster_without_ray_names_its_extra(tmp_path, tiny_model_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = write_recordings(tmp_path / "in", 1)
    call = ["resynth", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_path), "--ray", "auto"]
    assert main(call) == 2
    assert "--ray needs ray: pip install" in capsys.readouterr().err


@pytest.fixture
def cluster(monkeypatch):
    """Start two nodes of one CPU each on this machine."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    for attempt in range(3):  # Ray allows a node 15 seconds, which a busy machine may exceed
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1, include_dashboard=False)
            cluster.second = cluster.add_node(num_cpus=1)
            break
        except Exception:
            cluster.shutdown()
            if attempt == 2:
                raise
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_cluster_that_loses_a_node_writes_the_bytes_of_one_process(tmp_path, tiny_model_path, cluster):
    folder = write_recordings(tmp_path / "in", 8)
    (folder / "bad.wav").write_bytes(b"no audio")
    options, out = ["--steps", "60"], tmp_path / "two"
    call = command(tiny_model_path, folder, tmp_path / "one", *options)
    assert subprocess.run(call, env=environment(), timeout=600).returncode == 1
    process = start(tiny_model_path, folder, out, *options, "--ray", cluster.address)
    wait_for_outputs(out, process, 2)
    half = {name: (out / name).stat().st_mtime_ns for name in sounds(out) if (out / f"{name}.json").exists()}
    cluster.remove_node(cluster.second, allow_graceful=False)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 1, said
    assert "bad.wav" in said
    assert "1 of 9 files failed" in said
    assert 0 < len(half) < 8
    assert sounds(out) == sounds(tmp_path / "one")
    assert {name: (out / name).stat().st_mtime_ns for name in half} == half
    again = subprocess.run(
        command(tiny_model_path, folder, out, *options, "--ray", cluster.address),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "0 files" in again.stderr
    assert "8 were there" in again.stderr
    assert is_complete(out)


@pytest.mark.slow
def test_cluster_that_a_signal_stops_leaves_whole_files(tmp_path, tiny_model_path, cluster):
    folder, out = write_recordings(tmp_path / "in", 8), tmp_path / "out"
    process = start(tiny_model_path, folder, out, "--steps", "60", "--ray", cluster.address)
    wait_for_outputs(out, process)
    process.terminate()
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 143, said
    assert "of 8 files; run the same command again to go on" in said
    assert 0 < len(sounds(out)) < 8
    assert is_complete(out)
