"""UCF11 and trees of videos as datasets, built and read without TensorFlow."""

import json
import pickle
import subprocess
import sys

import av
import numpy as np
import pytest

from rgcam import cache, datasets, folder, models, splits
from rgcam.errors import InputError
from tests.conftest import ROOT
from tests.test_download import server  # noqa: F401
from tests.test_xgtf import VIPER

PREFIXES = {"basketball": "shooting", "biking": "biking", "diving": "diving"}


def write_mpg(path, seed, count=12):
    """Write an MPEG program stream, 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg1video", 25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(count):
            picture = rng.integers(0, 255, (32, 48, 3)).astype("uint8")
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def ucf11(tmp_path_factory):
    """Make a small UCF11: 3 classes, 3 groups of 2 clips, boxes, the one bad clip."""
    root = tmp_path_factory.mktemp("ucf") / "UCF11_updated_mpg"
    for label, (name, prefix) in enumerate(PREFIXES.items()):
        (root / name / "Annotation").mkdir(parents=True)
        for group in (1, 2, 24):
            for clip in (1, 2):
                stem = f"v_{prefix}_{group:02}_{clip:02}"
                file = root / name / f"v_{prefix}_{group:02}" / f"{stem}.mpg"
                write_mpg(file, (label, group, clip))
    (root / "basketball" / "Annotation" / "v_shooting_01_01.xgtf").write_text(VIPER)
    (root / "diving" / "Annotation" / "v_diving_01_01.xgtf").write_text("<viper>")
    bad = root / "basketball" / "v_shooting_24" / "v_shooting_24_01.mpg"
    bad.write_bytes(b"\0" * 4000)
    return root


@pytest.fixture(scope="module")
def prepared(ucf11, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    return datasets.prepare("ucf11", str(ucf11.parent), data_dir, workers=2)


def test_clips_classes_groups_and_what_was_left_out(prepared):
    items, classes = datasets.scan(prepared)
    assert classes == tuple(PREFIXES) and len(items) == 17
    assert {i.group for i in items} == {"01", "02", "24"}
    index = json.loads((prepared / "clips.json").read_text())
    ((name, reason),) = index["left_out"].items()
    assert name.endswith("v_shooting_24_01.mpg") and "v_shooting_24_01" in reason
    ((name, reason),) = index["without_boxes"].items()
    assert name.endswith("v_diving_01_01.mpg") and "no ViPER annotation" in reason


def test_bytes_times_and_boxes_are_the_published_ones(prepared, ucf11):
    items, _ = datasets.scan(prepared)
    for item in items:
        assert item.clip.read() == (ucf11 / item.place).read_bytes()
    records = {r["place"].decode(): r for r in datasets._records(prepared)}
    record = records["basketball/v_shooting_01/v_shooting_01_01.mpg"]
    np.testing.assert_allclose(record["times"], np.arange(12) / 25, atol=1e-6)
    assert record["boxes"].shape == (4, 5) and record["boxes"][0, 3] == 40
    assert records["biking/v_biking_01/v_biking_01_01.mpg"]["boxes"].shape == (0, 5)


def test_splits_cache_and_pickle_take_stored_clips(prepared, tmp_path):
    items, _ = datasets.scan(prepared)
    parts = splits.split(items, kind="leave_one_group_out", fold=3)
    assert {i.group for i in parts.test} == {"24"} and len(parts.test) == 5
    spec = models.preprocess_of({"backbone": "small"})
    frames = cache.Frames([i.clip for i in items], spec, 7.5, tmp_path)
    assert frames[0].shape == (4, 64, 64, 3)
    again = pickle.loads(pickle.dumps(items[0].clip))
    assert again.read() == items[0].clip.read()
    assert isinstance(items[0].clip, folder.Stored)


def test_preparing_again_does_nothing(prepared, ucf11, monkeypatch):
    from rgcam import builders

    monkeypatch.setattr(builders, "record", None)
    monkeypatch.setattr(datasets, "problem_of", lambda item: "as before")
    before = {p.name: p.stat().st_mtime_ns for p in prepared.glob("*array_record*")}
    datasets.prepare("ucf11", str(ucf11), prepared.parents[1])
    after = {p.name: p.stat().st_mtime_ns for p in prepared.glob("*array_record*")}
    assert before == after and before


def test_from_a_rar_by_way_of_the_web(ucf11, tmp_path, server):  # noqa: F811
    rars = pytest.importorskip("rars", reason="the extra [ucf11] is not installed")
    builder = rars.RarBuilder(store=True)
    for file in sorted(ucf11.rglob("*.*")):
        builder.add_bytes(file.read_bytes(), file.relative_to(ucf11.parent).as_posix())
    server.content, server.plan = bytes(builder.to_bytes()), ["half"]
    url = f"http://127.0.0.1:{server.server_port}/UCF11_updated_mpg.rar"
    place = datasets.prepare("ucf11", url, tmp_path)
    assert len(datasets.scan(place)[0]) == 17
    assert len(server.asked) == 2  # cut off half-way, and taken up
    assert len(datasets.scan(tmp_path)[0]) == 17  # a --data_dir is as good


def test_a_tree_like_ucf101s(tmp_path):
    for name in ("Dive", "Swing"):
        for group in (1, 2):
            file = tmp_path / "tree" / name / f"v_{name}_g{group:02}_c01.mpg"
            write_mpg(file, group)
    place = datasets.prepare(
        "tree", str(tmp_path / "tree"), tmp_path / "data", group=r"_g(\d+)_"
    )
    items, classes = datasets.scan(place)
    assert classes == ("Dive", "Swing") and {i.group for i in items} == {"01", "02"}


def test_no_tensorflow_is_imported(prepared):
    program = (
        "import sys; from pathlib import Path; from rgcam import datasets, builders; "
        f"datasets.scan(Path({str(prepared)!r}))[0][0].clip.read(); "
        "print('tensorflow' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert said.stdout.strip() == "False", said.stderr


def test_by_beam(ucf11, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    place = datasets.prepare("ucf11", str(ucf11), tmp_path, beam="DirectRunner")
    assert len(datasets.scan(place)[0]) == 17


def test_the_command(call, ucf11, tmp_path):
    out = f"--data_dir={tmp_path / 'data'}"
    code, said, err = call(
        "rgcam.datasets", "--dataset=ucf11", f"--source={ucf11}", out, "--workers=2"
    )
    assert code == 0, err
    assert "17 clips, 3 classes, 9 groups" in said
    assert "left out" in said and "1 clips were left out" in said


def test_mistakes_are_one_sentence(call, tmp_path):
    out = f"--data_dir={tmp_path / 'data'}"
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.rar").write_bytes(b"no archive")
    for arguments, says in {
        (): "--data_dir=FOLDER",
        (out, "--dataset=tree"): "--source=FOLDER",
        (out, f"--source={tmp_path / 'nope'}"): "no archive or folder",
        (out, f"--source={tmp_path / 'empty'}"): "0 sub-folders",
        (out, f"--source={tmp_path / 'bad.rar'}"): "rar",
        (out, "--source=http://127.0.0.1:9/x.rar"): "cannot reach",
        (out, "--dataset=kinetics"): "kinetics",
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rgcam.download.time.sleep", lambda _: None)
            code, _, err = call("rgcam.datasets", *arguments)
        assert code == 2 and says in err, (arguments, err)
    with pytest.raises(InputError, match="holds 0 datasets"):
        datasets.scan(tmp_path)
