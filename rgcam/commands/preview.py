"""``rgcam preview``: a contact sheet of augmented training clips."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from rgcam.commands import config as configs
from rgcam.commands.options import Command, Options, option
from rgcam.errors import InputError

COLUMNS = 8  # frames of a clip, evenly spaced
TRAINING = "training data"
OUTPUT = "output"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreviewOptions(Options):
    """Options of ``rgcam preview``."""

    config: str | None = option(
        None,
        "experiment; --config.FIELD=VALUE changes a field, as for rgcam train",
        group=TRAINING,
        value="FILE|NAME",
    )
    overrides: tuple[str, ...] = ()
    show: int = option(8, "number of clips", group=TRAINING)
    sheet: str = option("augmented.png", "image to write", group=OUTPUT, value="FILE")


def run(options: PreviewOptions) -> None:
    """Draw the first clips of a config's first epoch, as training sees them."""
    # Imported here, because help should not wait for the training data's libraries.
    from rgcam.data import augment, pipeline, sources
    from rgcam.models import classifiers

    if options.show < 1:
        raise InputError(f"--show={options.show} must be 1 or more")
    config = configs.load(options.config, options.overrides)
    spec = classifiers.preprocess_of(config.model.to_dict())
    source = sources.load(config.data.for_loading(), spec, None)
    plan = pipeline.Plan(
        source.train.lengths,
        batch_size=options.show,
        length=config.data.length,
        bucket=config.data.bucket,
        seed=config.seed,
    )
    augmentation = augment.from_config(config.data.augment.to_dict())
    batch = pipeline.TrainingBatches(source.train, plan, augmentation, 1)[0].batch
    names = [source.train.names[i] for i in plan[0][0]]
    # Of a clip with sentences, the first one is its caption.
    numbers = batch.labels if batch.words is None else batch.labels[:, 0]
    labels = [
        " ".join(source.classes[number] for number in row if number >= 0)
        for row in np.atleast_2d(numbers.T).T
    ]
    sheet = draw(batch.inputs, batch.lengths, list(zip(labels, names, strict=True)))
    try:
        sheet.save(options.sheet)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write --sheet={options.sheet}: {error}") from error
    print(f"{options.show} clips, {augmentation}: {Path(options.sheet).resolve()}")


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


COMMAND = Command(
    name="preview",
    usage="--config=FILE|NAME [--config.FIELD=VALUE ...] [--show=N] [--sheet=FILE]",
    options=PreviewOptions,
    run=run,
    examples="""
rgcam preview --config=folder_lrcn --config.data.root=FOLDER --show=8
""",
    has_config=True,
    details=configs.fields_text,
)
