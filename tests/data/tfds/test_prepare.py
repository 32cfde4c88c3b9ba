"""UCF11 and trees of videos as datasets, built and read without TensorFlow."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest

from rgcam.data import cache, folder, splits
from rgcam.data.tfds import builders, prepare
from rgcam.errors import InputError
from rgcam.models import classifiers
from tests.conftest import ROOT
from tests.data.tfds.test_download import server  # noqa: F401

VIPER = """<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#"
       xmlns:data="http://lamp.cfar.umd.edu/viperdata#">
  <config><descriptor name="PERSON" type="OBJECT"/></config>
  <data><sourcefile filename="v_shooting_01_01.mpg">
    <object framespan="1:4" id="0" name="PERSON">
      <attribute name="Location">
        <data:bbox framespan="1:2 4:4" height="90" width="40" x="10" y="20"/>
        <data:bbox framespan="3:3" height="91" width="41" x="11" y="21"/>
      </attribute>
    </object>
  </sourcefile></data>
</viper>"""
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
    return prepare.prepare("ucf11", str(ucf11.parent), data_dir, workers=2)


@pytest.fixture
def tree(tmp_path):
    """Make a tree like UCF101's: 2 classes of 2 groups of a clip."""
    return write_tree(tmp_path / "tree", ("Dive", "Swing"))


def write_tree(root, classes, seed=0):
    for name in classes:
        for group in (1, 2):
            file = root / name / f"v_{name}_g{group:02}_c01.mpg"
            write_mpg(file, (seed, group))
    return root


def prepare_tree(root, data_dir):
    return prepare.prepare("tree", str(root), data_dir, group=r"_g(\d+)_")


def test_clips_classes_and_groups(prepared):
    items, classes, _ = prepare.scan(prepared)
    assert classes == tuple(PREFIXES) and len(items) == 17
    assert {i.group for i in items} == {"01", "02", "24"}


def test_bytes_times_and_boxes_are_the_published_ones(prepared, ucf11):
    items = prepare.scan(prepared).items
    for item in items:
        assert item.clip.read() == (ucf11 / item.place).read_bytes()
    records = {r["place"].decode(): r for r in prepare.records(prepared)}
    record = records["basketball/v_shooting_01/v_shooting_01_01.mpg"]
    np.testing.assert_allclose(record["times"], np.arange(12) / 25, atol=1e-6)
    assert record["boxes"].shape == (4, 5) and record["boxes"][0, 3] == 40
    assert records["biking/v_biking_01/v_biking_01_01.mpg"]["boxes"].shape == (0, 5)


def test_splits_cache_and_pickle_take_stored_clips(prepared, tmp_path):
    items = prepare.scan(prepared).items
    parts = splits.split(items, kind="leave_one_group_out", fold=3)
    assert {i.group for i in parts.test} == {"24"} and len(parts.test) == 5
    spec = classifiers.preprocess_of({"backbone": "small"})
    frames = cache.Frames([i.clip for i in items], spec, 7.5, tmp_path)
    assert frames[0].shape == (4, 64, 64, 3)
    again = pickle.loads(pickle.dumps(items[0].clip))
    assert again.read() == items[0].clip.read()
    assert isinstance(items[0].clip, folder.Stored)


def test_preparing_again_does_nothing(prepared, ucf11, monkeypatch):
    monkeypatch.setattr(builders, "record", None)
    before = {p.name: p.stat().st_mtime_ns for p in prepared.iterdir()}
    again = prepare.prepare("ucf11", str(ucf11.parent), prepared.parents[1])
    after = {p.name: p.stat().st_mtime_ns for p in again.iterdir()}
    assert before == after and before


def test_a_dataset_outlives_its_source(tree, tmp_path):
    place = prepare_tree(tree, tmp_path / "data")
    shutil.rmtree(tree)
    assert prepare_tree(tree, tmp_path / "data") == place
    assert len(prepare.scan(place)[0][0].clip.read()) > 1000


def test_another_source_is_rejected(tree, tmp_path):
    place = prepare_tree(tree, tmp_path / "data")
    other = write_tree(tmp_path / "other", ("Hug", "Kick"))
    with pytest.raises(InputError, match=f"made from {tree} .*another --data_dir"):
        prepare_tree(other, tmp_path / "data")
    with pytest.raises(InputError, match="with group pattern"):
        prepare.prepare("tree", str(tree), tmp_path / "data")
    assert prepare.scan(place)[1] == ("Dive", "Swing")


def test_keys_distinguish_clips_of_equal_name_and_length(tree, tmp_path):
    other = write_tree(tmp_path / "other", ("Dive", "Swing"), seed=1)
    made = [prepare_tree(root, tmp_path / root.name / "x") for root in (tree, other)]
    clips = [item.clip for place in made for item in prepare.scan(place)[0]]
    assert len({len(clip.read()) for clip in clips}) == 1
    assert len({clip.name for clip in clips}) == 4
    assert len({clip.key for clip in clips}) == len({clip.read() for clip in clips})
    assert clips[0].key != clips[4].key


def test_an_interrupted_dataset_is_made_again(tree, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(builders, "_record_or_none", None)
        with pytest.raises(TypeError):
            prepare_tree(tree, tmp_path / "data")
    kind = tmp_path / "data" / "video_tree"
    assert not (kind / "1.0.0").exists()
    killed = kind / "incomplete.ABCDEF_1.0.0"  # what a kill -9 leaves
    killed.mkdir()
    (killed / "dataset_info.json").write_text("{}")
    place = prepare_tree(tree, tmp_path / "data")
    (place / "clips.json").unlink()  # killed before it was written
    with pytest.raises(InputError, match="is not complete"):
        prepare.scan(place)
    prepare_tree(tree, tmp_path / "data")
    assert len(prepare.scan(tmp_path / "data")[0]) == 4


def test_nothing_that_can_be_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "clip_g1_.mpg").write_bytes(b"0" * 99)
    with pytest.raises(InputError, match="none of the 2 clips can be read: .*a/clip"):
        prepare_tree(tmp_path / "tree", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_dataset_from_an_archive_on_a_server(ucf11, tmp_path, server):  # noqa: F811
    rars = pytest.importorskip("rars", reason="the extra [ucf11] is not installed")
    builder = rars.RarBuilder(store=True)
    for file in sorted(ucf11.rglob("*.*")):
        builder.add_bytes(file.read_bytes(), file.relative_to(ucf11.parent).as_posix())
    server.content, server.plan = bytes(builder.to_bytes()), ["half"]
    url = f"http://127.0.0.1:{server.server_port}/UCF11_updated_mpg.rar"
    place = prepare.prepare("ucf11", url, tmp_path)
    assert len(prepare.scan(place)[0]) == 17
    assert len(server.asked) == 2  # cut off half-way, and taken up
    assert len(prepare.scan(tmp_path)[0]) == 17  # a --data_dir is as good


def test_a_tree_like_ucf101s(tree, tmp_path):
    items, classes, _ = prepare.scan(prepare_tree(tree, tmp_path / "data"))
    assert classes == ("Dive", "Swing") and {i.group for i in items} == {"01", "02"}


def test_a_single_class_folder_is_not_taken_for_a_wrapping_folder(tmp_path):
    write_tree(tmp_path / "tree", ("Dive",))
    with pytest.raises(InputError, match="tree holds 1 sub-folders"):
        prepare_tree(tmp_path / "tree", tmp_path / "data")


def test_building_and_reading_import_no_tensorflow(tree, tmp_path):
    program = (
        "import sys; from pathlib import Path; from rgcam.data.tfds import prepare; "
        f"place = prepare.prepare('tree', {str(tree)!r}, Path({str(tmp_path / 'd')!r})); "
        "print(len(prepare.scan(place)[0][0].clip.read()) > 1000, "
        "'tensorflow' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert said.stdout.strip() == "True False", said.stderr


def test_by_beam(ucf11, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed")
    place = prepare.prepare("ucf11", str(ucf11), tmp_path, beam="DirectRunner")
    assert len(prepare.scan(place)[0]) == 17


def test_the_command(call, ucf11, tmp_path):
    out = f"--data_dir={tmp_path / 'data'}"
    code, said, err = call(
        "prepare",
        "--dataset=ucf11",
        f"--source={ucf11}",
        out,
        "--workers=2",
    )
    assert code == 0, err
    assert "17 clips, 3 classes, 9 groups" in said
    assert "skipped basketball/" in said and "skipped clips: 1" in said


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
            patch.setattr("rgcam.data.tfds.download.time.sleep", lambda _: None)
            code, _, err = call("prepare", *arguments)
        assert code == 2 and says in err, (arguments, err)
    with pytest.raises(InputError, match="holds 0 datasets"):
        prepare.scan(tmp_path)


def test_the_index_lists_skipped_clips_and_unreadable_boxes(prepared):
    index = prepare.read_index(prepared)
    ((name, reason),) = index.skipped.items()
    assert name.endswith("v_shooting_24_01.mpg") and "v_shooting_24_01" in reason
    ((name, reason),) = index.without_boxes.items()
    assert name.endswith("v_diving_01_01.mpg") and "not a ViPER annotation" in reason
    assert not index.notes


def test_the_summary_names_every_skipped_clip(prepared):
    said = list(prepare.summary(prepared))
    assert said[0].startswith("17 clips, 3 classes, 9 groups, ")
    assert "1,600 clips" in said[1] and "v_shooting_24_01" in said[2]
    assert said[-1] == "skipped clips: 1"


def test_a_damaged_clip_is_kept_with_a_note(tree, tmp_path):
    clip = tree / "Dive" / "v_Dive_g01_c01.mpg"
    clip.write_bytes(clip.read_bytes()[:5000])
    place = prepare_tree(tree, tmp_path / "data")
    ((name, note),) = prepare.read_index(place).notes.items()
    assert name == "Dive/v_Dive_g01_c01.mpg" and "the file is damaged" in note
    assert f"note on {name}: {note}" in list(prepare.summary(place))


def test_a_clip_that_was_added_later_is_listed_as_skipped(tree, tmp_path):
    place = prepare_tree(tree, tmp_path / "data")
    items = folder.scan(tree).items
    later = tree / "Dive" / "later.mpg"
    later.write_bytes(items[0].clip.read_bytes())
    prepare.write_index(place, folder.scan(tree)[0])
    assert prepare.read_index(place).skipped == {
        "Dive/later.mpg": "it was added after the dataset was made"
    }


def test_an_index_of_an_older_version_is_read(tree, tmp_path):
    place = prepare_tree(tree, tmp_path / "data")
    index = prepare.read_index(place)._replace(skipped={"Dive/x.mpg": "too short"})
    fields = index._asdict()
    fields["left_out"] = fields.pop("skipped")
    (place / prepare.INDEX).write_text(json.dumps(fields))
    assert prepare.read_index(place).skipped == index.skipped
    del fields["classes"]
    (place / prepare.INDEX).write_text(json.dumps(fields))
    with pytest.raises(InputError, match="is not complete.*classes"):
        prepare.read_index(place)


def test_an_index_that_cannot_be_read_or_written(tree, tmp_path, monkeypatch):
    place = prepare_tree(tree, tmp_path / "data")
    (place / prepare.INDEX).write_text('{"classes": [')
    with pytest.raises(InputError, match="is not complete"):
        prepare.read_index(place)
    (place / prepare.INDEX).unlink()
    (place / prepare.INDEX).mkdir()
    monkeypatch.setattr(builders, "boxes_of", lambda clip: (None, ""))
    with pytest.raises(InputError, match="cannot write .*clips.json.part"):
        prepare.write_index(place, folder.scan(tree)[0])


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    tree = tmp_path / "tree"
    for label, name in enumerate((os.fsdecode(b"caf\xe9"), "plain")):
        for clip in range(2):
            write_mpg(tree / name / f"v_g{clip}_.mpg", (label, clip))
        plain = tree / name / "v_g1_.mpg"
        plain.rename(plain.with_name(os.fsdecode(b"\xfcber_g1_.mpg")))
    path = prepare_tree(tree, tmp_path / "data")
    items, classes, _ = prepare.scan(path)
    assert classes == (r"caf\xe9", "plain")
    assert {item.place for item in items} == {
        r"caf\xe9/v_g0_.mpg",
        r"caf\xe9/\xfcber_g1_.mpg",
        "plain/v_g0_.mpg",
        r"plain/\xfcber_g1_.mpg",
    }


def test_what_is_no_clip_is_in_the_summary(tmp_path):
    tree = tmp_path / "tree"
    for label, name in enumerate(("a", "b")):
        write_mpg(tree / name / "v_g0_.mpg", (label, 0))
    (tree / "a" / "notes.txt").touch()
    lines = list(prepare.summary(prepare_tree(tree, tmp_path / "data")))
    assert "left out: files without a video's suffix (1), such as a/notes.txt" in lines
