"""The summary of many videos: its numbers are those of the rows and the array files."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rgcam.data.synthetic import stickman
from rgcam.errors import InputError
from rgcam.metrics import statistics
from rgcam.report import summary
from rgcam.report.writer import write_video

CLASSES = ("Diving", "Golf Swing", "Jump")
OPTIONS = {"videos": "/clips/mine", "model": "runs/lrcn"}


def make_corpus(folder, count=24, seed=0):
    """Write array files and return the rows of a manifest: folders name the labels."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        label, predicted = rng.integers(3, size=2) if n % 3 else (n % 2, n % 2)
        length = int(rng.integers(4, 9))
        name = f"{('Diving', 'golf_swing', 'Jump')[label]}/v_g{n // 3:02}_c{n}.mp4"
        if n == 5:
            rows.append({"video": name, "status": "failed", "error": "it is empty"})
            continue
        maps = rng.normal(size=(length, 3, 2)).astype(np.float32)
        matrix = np.tril(rng.random((length, length))).astype(np.float32)
        place = folder / f"v{n}"
        place.mkdir(parents=True)
        np.savez_compressed(
            place / "explanation.npz",
            maps=maps,
            matrix=matrix,
            scores=rng.normal(size=(length, 3)),
            times=np.arange(length) / 7.5,
            classes=np.array(CLASSES),
            target=np.array(predicted),
            aggregate=np.array("last"),
        )
        passed = bool(n % 4)
        method = "fade" if n % 2 else "gradcam"
        rows.append(
            {
                "video": name,
                "status": "ok",
                "prediction": CLASSES[predicted],
                "probability": float(rng.random()),
                "target": CLASSES[predicted],
                "shown": method,
                "passed": passed,
                "methods": {
                    "gradcam": {"score": 0.1 * (n % 10), "passed": False},
                    "fade": {"score": None, "passed": passed},
                },
                "half_life": None if n % 5 == 0 else 0.1 * n,
                "recurrent_share": 0.5,
                "top_moments": [] if n == 7 else [{"time": 0.4, "share": 0.3}],
                "frames": length,
                "seconds": (length - 1) / 7.5,
                "files": [f"v{n}/explanation.npz"],
            }
        )
    return rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = make_corpus(folder)
    contents = summary.summarize_videos(folder, rows, OPTIONS, r"_g(\d+)_")
    return folder, rows, contents


def arrays_of(folder, row):
    with np.load(folder / row["files"][0]) as arrays:
        return dict(arrays)


def test_accuracy_equals_an_independent_count(corpus):
    _, rows, contents = corpus
    labels = {"Diving": "Diving", "golf_swing": "Golf Swing", "Jump": "Jump"}
    pairs = Counter()
    for row in rows:
        if row["status"] == "ok":
            pairs[labels[row["video"].split("/")[0]], row["prediction"]] += 1
    correct = sum(n for (label, predicted), n in pairs.items() if label == predicted)
    accuracy = contents.accuracy
    assert accuracy.overall.clips == sum(pairs.values()) == 23
    assert accuracy.overall.mean == pytest.approx(correct / 23)
    assert accuracy.overall.groups == 8
    for i, label in enumerate(accuracy.classes):
        total = sum(n for (name, _), n in pairs.items() if name == label)
        assert accuracy.by_class[i].clips == total
        assert accuracy.by_class[i].mean == pytest.approx(pairs[label, label] / total)
        for j, predicted in enumerate(accuracy.classes):
            assert accuracy.table[i, j] == pairs[label, predicted]
    for label, predicted, count in summary.confused(accuracy):
        assert label != predicted and count == pairs[label, predicted]


def test_intervals_are_those_of_the_statistics(corpus):
    _, rows, contents = corpus
    ok = [row for row in rows if row["status"] == "ok"]
    values = np.array([row["passed"] for row in ok])
    groups = [row["video"].split("_g")[1][:2] for row in ok]
    assert contents.passed == statistics.share_interval(values, groups)


def test_attribution_by_class_equals_the_array_files(corpus):
    folder, rows, contents = corpus
    for attribution in contents.attributions:
        of_class = [
            row
            for row in rows
            if row["status"] == "ok" and row["target"] == attribution.name
        ]
        passing = [row for row in of_class if row["passed"]]
        assert attribution.videos == len(of_class)
        assert attribution.averaged == len(passing)
        assert attribution.passed.mean == pytest.approx(len(passing) / len(of_class))
        assert attribution.methods == Counter(row["shown"] for row in of_class)
        times, spaces, lags = [], [], []
        for row in passing:
            arrays = arrays_of(folder, row)
            maps = arrays["maps"].astype(float)
            support = np.maximum(maps.sum((1, 2)), 0)
            if support.any():
                # Each frame is cut into as many pieces as the video has parts.
                pieces = np.repeat(support / support.sum() / summary.BINS, summary.BINS)
                times.append(pieces.reshape(summary.BINS, -1).sum(1))
            positive = np.where(maps > 0, maps, 0).sum(0)
            spaces.append(positive / positive.sum())
            matrix = arrays["matrix"].astype(float)
            profile = [
                np.mean([abs(matrix[t, t - lag]) for t in range(lag, len(matrix))])
                for lag in range(len(matrix))
            ]
            lags.append(np.array(profile) / sum(profile))
        for part, interval in enumerate(attribution.time):
            assert interval.mean == pytest.approx(np.mean([t[part] for t in times]))
        np.testing.assert_allclose(attribution.space, np.mean(spaces, 0))
        assert attribution.lag_seconds == pytest.approx(1 / 7.5)
        have = [len(profile) for profile in lags]
        assert sum(n >= len(attribution.lag) for n in have) >= len(have) / 2
        for lag, interval in enumerate(attribution.lag):
            values = [profile[lag] for profile in lags if lag < len(profile)]
            assert interval.mean == pytest.approx(np.mean(values))


def test_errors_come_first_then_wrong_and_confident_ones(corpus):
    videos = corpus[2].videos
    assert videos[0].error == "it is empty" and not any(v.error for v in videos[1:])
    wrong = [v for v in videos if v.correct is False]
    assert list(videos[1 : 1 + len(wrong)]) == wrong
    for part in (wrong, list(videos[1 + len(wrong) :])):
        probabilities = [v.probability for v in part]
        assert probabilities == sorted(probabilities, reverse=True)


def test_the_table_has_every_row_of_the_manifest(corpus):
    _, rows, contents = corpus
    lines = list(csv.DictReader(summary.csv_text(contents).splitlines()))
    by_name = {row["video"]: row for row in rows}
    assert {line["video"] for line in lines} == set(by_name)
    for line in lines:
        row = by_name[line["video"]]
        if row["status"] == "failed":
            assert line["error"] == row["error"] and line["prediction"] == ""
            continue
        assert float(line["probability"]) == row["probability"]
        assert float(line["score_gradcam"]) == row["methods"]["gradcam"]["score"]
        assert line["score_fade"] == "" and line["error"] == ""
        assert line["passed"] == ("yes" if row["passed"] else "no")
        assert (line["half_life_s"] == "") == (row["half_life"] is None)
        same = line["label"] == row["prediction"]
        assert line["correct"] == ("yes" if same else "no")


def test_the_text_says_accuracy_checks_and_confusion(corpus):
    contents = corpus[2]
    text = summary.text(contents)
    correct = sum(v.correct is True for v in contents.videos)
    assert f"accuracy: {correct} of 23 (" in text
    assert "faithfulness check passed: 17 of 23 (73.9 %)" in text
    assert "too few groups for an interval" in text
    assert "could not be explained: 1 of 24 videos" in text
    label, predicted, count = summary.confused(contents.accuracy)[0]
    assert f"most often confused: {label} predicted as {predicted} ({count})" in text


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/clips/Diving/a.mp4", "Diving"),
        ("/clips/golf-swing/take 2/a.mp4", "Golf Swing"),
        ("/Diving/Jump/a.mp4", "Jump"),
        ("/clips/other/Diving.mp4", ""),
    ],
)
def test_the_nearest_folder_that_names_a_class_is_the_label(path, label):
    assert summary.folder_label(Path(path), CLASSES) == label


def test_without_labels_there_is_no_accuracy(tmp_path):
    rows = [
        row | {"video": row["video"].split("/")[1]} for row in make_corpus(tmp_path, 6)
    ]
    contents = summary.summarize_videos(tmp_path, rows, OPTIONS)
    assert contents.accuracy is None and contents.notes == ()
    assert "accuracy: unknown" in summary.text(contents)


def test_some_videos_without_a_label_are_reported(tmp_path):
    rows = make_corpus(tmp_path, 6)
    rows[0] = rows[0] | {"video": "elsewhere/x_g99_.mp4"}
    contents = summary.summarize_videos(tmp_path, rows, OPTIONS)
    assert contents.accuracy.overall.clips == 4
    (note,) = contents.notes
    assert note.startswith("1 videos lie in no folder named like a class")


def test_names_that_tell_of_shared_recordings_are_reported(corpus):
    folder, rows, _ = corpus
    of_class = Counter()
    named = []
    for row in rows:
        label = row["video"].split("/")[0]
        number = of_class[label]
        of_class[label] += 1
        # Three clips of each recording.
        named.append(row | {"video": f"{label}/v_g{number // 3:02}_c{number}.mp4"})
    grouped = summary.summarize_videos(folder, named, OPTIONS, r"_g(\d+)_")
    assert grouped.notes == ()
    (note,) = summary.summarize_videos(folder, named, OPTIONS).notes
    assert note.endswith(r"group them by --group='_g(\d+)_'")


def test_first_frames_that_tell_of_shared_recordings_are_reported(corpus, tmp_path):
    folder, rows, _ = corpus
    named = [
        row | {"video": f"{row['video'].split('/')[0]}/clip {number}.mp4"}
        for number, row in enumerate(rows)
    ]
    options = OPTIONS | {"videos": str(tmp_path)}
    assert summary.summarize_videos(folder, named, options).notes == ()  # all are gone
    for number, row in enumerate(named[:8]):  # two videos of each of four scenes
        file = tmp_path / row["video"]
        file.parent.mkdir(exist_ok=True)
        write_video(file, stickman.clip(number // 2, length=8).frames[:3], 7.5)
    (note,) = summary.summarize_videos(folder, named, options).notes
    assert note.startswith("8 of 8 videos begin with nearly the same frame as another")
    assert "Diving/clip 0.mp4" in note and note.endswith("group them by --group")


def test_where_nothing_was_checked_all_are_averaged(tmp_path):
    rows = [
        row | {"passed": None} if row["status"] == "ok" else row
        for row in make_corpus(tmp_path, 9)
    ]
    contents = summary.summarize_videos(tmp_path, rows, OPTIONS)
    assert contents.passed.mean is None
    assert sum(a.averaged for a in contents.attributions) == 8
    assert "faithfulness check: not made" in summary.text(contents)


def test_an_explanation_without_support_counts_in_no_mean():
    zero = np.zeros((4, 2, 2))
    profile = summary.clip_profile(zero, np.zeros((4, 4)), np.arange(4) / 4)
    assert np.isnan(profile.time).all() and np.isnan(profile.lag).all()
    assert np.isnan(profile.space).all()


def test_mistakes_are_one_sentence(tmp_path):
    rows = make_corpus(tmp_path, 3)
    with pytest.raises(InputError, match="matches no file name"):
        summary.summarize_videos(tmp_path, rows, OPTIONS, "_x([0-9])")
    with pytest.raises(InputError, match="has no parenthesis"):
        summary.summarize_videos(tmp_path, rows, OPTIONS, "_g")
    with pytest.raises(InputError, match="no explained video yet"):
        summary.summarize_videos(tmp_path, [], OPTIONS)
    (tmp_path / "v0" / "explanation.npz").write_text("no array")
    with pytest.raises(InputError, match="cannot be read"):
        summary.summarize_videos(tmp_path, rows, OPTIONS)
