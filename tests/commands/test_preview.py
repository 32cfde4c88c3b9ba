"""The contact sheet: what is drawn, and by the command a person types."""

import numpy as np
from PIL import Image

from rgcam.commands import preview
from rgcam.data.synthetic import captions
from tests.conftest import ROOT


def test_frames_lie_in_rows_evenly_spaced():
    clips = np.zeros((2, 16, 8, 8, 3), np.uint8)
    clips[0] += np.arange(16, dtype=np.uint8)[:, None, None, None] * 10
    titles = [("a", "x"), ("b", "y")]
    sheet = np.asarray(preview.draw(clips, np.array([16, 9]), titles))
    assert sheet.shape == (48, 64, 3)
    row = sheet[20, 4::8, 0]
    assert row.tolist() == [0, 20, 40, 60, 90, 110, 130, 150]
    assert not sheet[-8:].any()


def test_the_command(call, tmp_path):
    out = tmp_path / "sheet.png"
    config = f"--config={ROOT / 'configs/stickman_lrcn.py'}"
    code, said, err = call(
        "preview",
        config,
        "--show=3",
        f"--sheet={out}",
        "--config.data.train_clips=4",
        "--config.data.test_clips=1",
        "--config.data.augment.colour=0.3",
    )
    assert code == 0, err
    with Image.open(out) as sheet:
        assert sheet.size == (8 * 64, 3 * 80) and str(out) in said
    code, _, err = call("preview", "--show=3")
    assert code == 2 and "--config=configs/NAME.py" in err


def test_clips_with_sentences_are_shown_with_their_captions(
    call, tmp_path, monkeypatch
):
    titles = []
    draw = preview.draw

    def record(clips, lengths, named):
        titles.extend(named)
        return draw(clips, lengths, named)

    monkeypatch.setattr(preview, "draw", record)
    code, _, err = call(
        "preview",
        f"--config={ROOT / 'configs/stickman_captioner.py'}",
        "--show=2",
        f"--sheet={tmp_path / 'sheet.png'}",
        "--config.data.train_clips=4",
        "--config.data.test_clips=1",
    )
    assert code == 0, err
    for caption, name in titles:
        clip = captions.clip((1, int(name.split("-")[-1])))
        assert caption == " ".join((*clip.words, "<end>"))
