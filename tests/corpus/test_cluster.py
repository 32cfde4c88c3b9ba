"""The Ray engine: the same numbers and files; a dead worker costs nothing else."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from rgcam.corpus import cluster, manifest
from rgcam.corpus.cluster import Share
from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.report import writer
from tests.conftest import one_sentence

KILLED = "RGCAM_TEST_KILLED"


class KilledOnce(cluster.Explainer):
    """The first of all workers that wrote a video's files kills itself then."""

    def __call__(self, batch):
        for row in super().__call__(batch):
            try:
                Path(os.environ[KILLED]).open("x").write(str(os.getpid()))
            except FileExistsError:
                yield row
            else:
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def videos(tmp_path):
    for n, length in enumerate((8, 12, 16, 20)):
        frames = stickman.clip((3, n), length=length).frames
        writer.write_video(tmp_path / f"v{n}.mp4", frames, 7.5)
    (tmp_path / "v4.mp4").touch()
    return tmp_path


def rows(folder):
    return {row["video"]: row for row in manifest.read(folder)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray deprecates what Ray itself uses
def test_ray_gives_the_same_and_a_killed_worker_costs_nothing(
    call, videos, monkeypatch
):
    pytest.importorskip("ray", reason="Ray is not installed (the extra [ray])")
    here, there, killed = (videos / name for name in ("local", "ray", "killed"))
    command = ("explain", f"--videos={videos}", "--target=kick")
    assert call(*command, f"--out={here}")[0] == 0
    monkeypatch.setenv(KILLED, str(killed))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(cluster, "Explainer", KilledOnce)
    monkeypatch.setattr(cluster, "GROUP", 2)
    ray = ("--engine=ray", "--ray_workers=2")
    code, said, err = call(*command, f"--out={there}", *ray)
    assert code == 0, err
    assert "explained: 4 videos" in said and int(killed.read_text()) != os.getpid()
    assert len((there / manifest.MANIFEST).read_text().splitlines()) == 5
    local, remote = rows(here), rows(there)
    assert local.keys() == remote.keys()
    for name, row in local.items():
        assert row["status"] == remote[name]["status"]
        assert row.get("error") == remote[name].get("error")
        for file in row.get("files", ()):
            with np.load(here / file) as a, np.load(there / file) as b:
                assert a.files == b.files
                for key in ("scores", "maps", "matrix"):
                    np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-5)
    assert call(*command, f"--out={there}", *ray)[1].count("explained before: 4") == 1


def test_without_ray_one_sentence_says_so(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'rgcam\[ray\]'"):
        cluster.engine(None, 0)


@pytest.mark.slow
def test_no_such_cluster_is_one_sentence(call, videos):
    pytest.importorskip("ray", reason="Ray is not installed (the extra [ray])")
    address = ("--engine=ray", "--ray_address=127.0.0.1:1")
    code, _, err = call("explain", f"--videos={videos}", f"--out={videos}/o", *address)
    assert code == 2 and "127.0.0.1:1" in one_sentence(err)


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


def test_workers_share_what_the_cluster_has():
    two = [node(CPU=16.0, GPU=4.0), node(CPU=16.0, GPU=4.0), node(False, GPU=9.0)]
    assert cluster.share_cluster(two, 0) == Share(workers=8, gpus=1)
    assert cluster.share_cluster(two, 3) == Share(workers=3, gpus=1)
    plain = [node(CPU=8.0), node(CPU=8.0), node()]
    assert cluster.share_cluster(plain, 0) == Share(workers=2, cpus=8)
    assert cluster.share_cluster(plain, 4) == Share(workers=4, cpus=4)
    assert cluster.share_cluster([node(CPU=2.0)], 4) == Share(workers=4, cpus=0.5)
