"""A picture of augmented training clips: what the model is shown, to be looked at."""

from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from rgcam.commands import app
from rgcam.data import augment, pipeline, sources
from rgcam.errors import InputError
from rgcam.models import classifiers
from rgcam.training import config as configuration

SHOW = flags.DEFINE_integer("show", 8, "how many clips", lower_bound=1)
SHEET = flags.DEFINE_string("sheet", "augmented.png", "the picture that is written")
COLUMNS = 8  # frames of a clip, evenly spaced


def main() -> None:
    """Draw the first clips of a config's first epoch, as training sees them."""
    config = configuration.asked()
    spec = classifiers.preprocess_of(config.model.to_dict())
    source = sources.load(config.data.to_dict(), spec, None)
    plan = pipeline.Plan(
        source.train.lengths,
        batch_size=SHOW.value,
        length=config.data.length,
        bucket=config.data.bucket,
        seed=config.seed,
    )
    options = augment.from_config(config.data.augment.to_dict())
    batch = pipeline.TrainingBatches(source.train, plan, options, 1)[0].batch
    names = [source.train.names[i] for i in plan[0][0]]
    labels = [source.classes[label] for label in batch.labels]
    picture = draw(batch.inputs, batch.lengths, list(zip(labels, names, strict=True)))
    try:
        picture.save(SHEET.value)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write --sheet={SHEET.value}: {error}") from error
    print(f"{SHOW.value} clips, {options}: {Path(SHEET.value).resolve()}")


def draw(
    clips: np.ndarray, lengths: np.ndarray, titles: list[tuple[str, str]]
) -> Image.Image:
    """Lay clips out one under another: title, then up to eight frames in a row.

    Args:
        clips: (B T S S 3) uint8.
        lengths: (B,) frames of each.
        titles: class and name of each.
    """
    size, line = clips.shape[2], 16
    columns = min(COLUMNS, int(lengths.max()))
    height = len(clips) * (size + line)
    sheet = Image.new("RGB", (columns * size, height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (clip, length, title) in enumerate(
        zip(clips, lengths, titles, strict=True)
    ):
        top = row * (size + line)
        pen.text((2, top + 2), ": ".join(title), fill="black")
        for column, t in enumerate(np.linspace(0, length - 1, columns).round()):
            sheet.paste(Image.fromarray(clip[int(t)]), (column * size, top + line))
    return sheet


if __name__ == "__main__":
    app.run(main)
