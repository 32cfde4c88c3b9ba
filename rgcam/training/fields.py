"""The fields of an experiment: what each is, its type, its default and its range.

The records below are the only place that says so. The help of the commands, the check of
a config and the record of a run are derived from them.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar, cast

from rgcam.data import splits
from rgcam.data.synthetic import draw
from rgcam.errors import InputError
from rgcam.models import description, layers
from rgcam.types import Fields

if TYPE_CHECKING:  # help need not wait for what loads clips
    from rgcam.data.sources import DataConfig

LOSSES = ("every_step", "last_half", "last_step")
OPTIMIZERS = ("adamw", "sgd")
DTYPES = ("float32", "bfloat16")
SOURCES = ("folder", "dataset", *draw.SOURCES)

Number: TypeAlias = int | float
Default = TypeVar("Default")
RecordType = TypeVar("RecordType", bound="Record")


class Rule(NamedTuple):
    """What a field is, and the values that it may have.

    Attributes:
        help: what it is, with its unit.
        low: smallest number; None: the field is not a number.
        high: largest number.
        low_included: whether the smallest number itself is allowed.
        high_included: whether the largest number itself is allowed.
        choices: the texts that are allowed; (): any text.
    """

    help: str
    low: Number | None = None
    high: Number | None = None
    low_included: bool = True
    high_included: bool = True
    choices: tuple[str, ...] = ()

    def allows(self, value: object) -> bool:
        """Tell whether a value of the field's type is in its range."""
        if self.choices:
            return value in self.choices
        if self.low is None or self.high is None:
            return True
        assert isinstance(value, int | float)
        above = self.low <= value if self.low_included else self.low < value
        below = value <= self.high if self.high_included else value < self.high
        return above and below

    def range_text(self) -> str:
        """Say which values are allowed; "": any of the type."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None or self.high is None:
            return ""
        low = f"{'at least' if self.low_included else 'above'} {self.low:,.15g}"
        high = f"{'at most' if self.high_included else 'below'} {self.high:,.15g}"
        return f"{low} and {high}"


def number(
    default: Default,
    help: str,
    *,
    at_least: Number | None = None,
    above: Number | None = None,
    at_most: Number | None = None,
    below: Number | None = None,
) -> Default:
    """Return a field that holds a number between two bounds.

    Args:
        default: its default, an int or a float: the field's type.
        help: what it is, with its unit.
        at_least: smallest value, or
        above: bound that every value exceeds.
        at_most: largest value, or
        below: bound that no value reaches.
    """
    rule = Rule(
        help,
        low=above if at_least is None else at_least,
        high=below if at_most is None else at_most,
        low_included=at_least is not None,
        high_included=at_most is not None,
    )
    return dataclasses.field(default=default, metadata={"rule": rule})


def text(default: Default, help: str) -> Default:
    """Return a field that holds any text."""
    return dataclasses.field(default=default, metadata={"rule": Rule(help)})


def switch(default: Default, help: str) -> Default:
    """Return a field that is true or false."""
    return dataclasses.field(default=default, metadata={"rule": Rule(help)})


def choice(default: Default, help: str, choices: Iterable[str]) -> Default:
    """Return a field that holds one of some texts."""
    rule = Rule(help, choices=tuple(choices))
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A group of fields."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain data, nested groups included."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFields(Record):
    """The model that is trained: ``model``."""

    kind: str = choice(
        "lrcn",
        "recurrent, each frame by itself (cnn), or for sentences (captioner)",
        description.KINDS,
    )
    backbone: str = choice(
        "efficientnet_lite0", "network below the cut", description.BACKBONES
    )
    head: str = choice(
        "gap",
        "mean of the feature map; grid: of its four quarters; fc: flatten + Dense",
        layers.HEADS,
    )
    width: int = number(512, "units of the fc head", at_least=1, at_most=65_536)
    cell: str = choice("lstm", "recurrent cell", layers.CELLS)
    hidden: int = number(
        256, "units of the recurrent state", at_least=1, at_most=65_536
    )
    dropout: float = number(
        0.5, "share of the units dropped in training", at_least=0, below=1
    )
    differences: bool = switch(
        False, "the LRCN also reads the change of each frame vector"
    )
    view: str = choice(
        "rgb",
        "input: frames, their change from the frame before, or both",
        description.VIEWS,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentFields(Record):
    """Random changes of training clips: ``data.augment``, see ``rgcam.data.augment``."""

    mirror: bool = switch(True, "mirror half of the clips")
    crop: float = number(
        1.0,
        "side of the smallest random crop, share of the frame's",
        above=0,
        at_most=1,
    )
    colour: float = number(
        0.0,
        "largest relative change of brightness, contrast and saturation",
        at_least=0,
        below=1,
    )
    stride: int = number(
        1, "largest random step from frame to frame", at_least=1, at_most=1000
    )
    shake: float = number(
        0.0,
        "largest random shift of a frame, share of its side",
        at_least=0,
        below=0.5,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFields(Record):
    """The clips and their split: ``data``.

    Drawn clips (``source`` in ``rgcam.data.synthetic.draw.SOURCES``) need no files: of
    root, fps, group, splits and cache nothing is read, and train_clips and test_clips
    say how many are drawn.
    """

    source: str = choice(
        "folder",
        "a folder of videos, a dataset of rgcam prepare, or clips that are drawn",
        SOURCES,
    )
    root: str = text("", "folder of the classes, or --data_dir of the dataset")
    train_clips: int = number(
        4000, "number of drawn training clips", at_least=1, at_most=10**9
    )
    test_clips: int = number(
        550, "number of drawn test clips", at_least=1, at_most=10**9
    )
    fps: float = number(
        7.5,
        "frames a second that are sampled; 7.5 is the paper's",
        above=0,
        at_most=1000,
    )
    length: int = number(
        32,
        "steps of a training clip, a random window",
        at_least=1,
        at_most=100_000,
    )
    bucket: int = number(
        16,
        "padded lengths are multiples of it; 0: always length",
        at_least=0,
        at_most=100_000,
    )
    augment: AugmentFields = dataclasses.field(default_factory=AugmentFields)
    group: str = text("", "regular expression; (...) is the name of the recording")
    groups_per_class: bool = switch(False, "group 1 of two classes is two recordings")
    split: str = choice("group", "how the test clips are chosen", splits.KINDS)
    split_seed: int = number(
        0, "seed of what is drawn for the split", at_least=0, at_most=2**32 - 1
    )
    fold: int = number(
        1, "group to test on, of leave_one_group_out", at_least=1, at_most=10**6
    )
    test_groups: str = text("", "groups to test on, such as 3-7 or a,b")
    test_list: str = text("", "file that names one test clip a line")
    test_fraction: float = number(
        0.2, "share of the groups to test on, if neither is given", above=0, below=1
    )
    validation_groups: str = text("", "training groups that choose the best checkpoint")
    validation_fraction: float = number(
        0.0, "or the share of the training groups that is drawn", at_least=0, below=1
    )
    cache: str = text(
        "", "folder of decoded frames and features; empty: ~/.cache/rgcam"
    )
    random_labels: bool = switch(
        False, "permute the training labels, for a sanity check"
    )
    workers: int = number(
        0, "processes that load batches; 0: threads", at_least=0, at_most=1024
    )
    max_broken: float = number(
        0.05,
        "share of the training clips that may become unreadable during a run",
        at_least=0,
        at_most=1,
    )

    def for_loading(self) -> "DataConfig":
        """Return the fields as ``rgcam.data.sources.load`` takes them."""
        return cast("DataConfig", self.to_dict())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Record):
    """Every field of an experiment."""

    seed: int = number(
        0, "of weights, order and dropout", at_least=0, at_most=2**32 - 1
    )
    model: ModelFields = dataclasses.field(default_factory=ModelFields)
    weights: str = text(
        "", "file of the backbone's weights, .pth or .safetensors; empty: its own"
    )
    init_from: str = text(
        "", "run or bundled model whose backbone and frame head are taken"
    )
    finetune: int = number(
        0,
        "number of last backbone blocks that are trained; -1: all",
        at_least=-1,
        at_most=1000,
    )
    data: DataFields = dataclasses.field(default_factory=DataFields)
    epochs: int = number(
        30, "passes over the training clips", at_least=1, at_most=10**6
    )
    batch_size: int = number(
        32, "clips of a step, over all devices", at_least=1, at_most=10**9
    )
    accumulate: int = number(
        1,
        "parts that a batch is computed in, to save memory",
        at_least=1,
        at_most=10**6,
    )
    frames_at_once: int = number(
        0,
        "frames of a clip that pass the backbone together; 0: all",
        at_least=0,
        at_most=100_000,
    )
    dtype: str = choice("float32", "of the backbone's computations", DTYPES)
    optimizer: str = choice("adamw", "update rule", OPTIMIZERS)
    learning_rate: float = number(1e-3, "peak learning rate", above=0, at_most=1000)
    backbone_rate: float = number(
        0.1,
        "learning rate of the backbone, share of the peak",
        at_least=0,
        at_most=1000,
    )
    warmup: float = number(
        0.05, "share of the steps in which the rate rises", at_least=0, at_most=1
    )
    weight_decay: float = number(1e-2, "of the kernels", at_least=0, at_most=1000)
    clip_norm: float = number(
        5.0, "largest global norm of the gradient", above=0, at_most=1e30
    )
    loss: str = choice(
        "last_step",
        "steps whose cross-entropy is trained; of a captioner all words are",
        LOSSES,
    )
    smoothing: float = number(0.1, "of the labels", at_least=0, below=1)
    evaluate_every: int = number(
        1, "epochs from one validation to the next", at_least=1, at_most=10**6
    )
    checkpoint_steps: int = number(
        0,
        "steps from one checkpoint to the next; 0: every epoch",
        at_least=0,
        at_most=10**9,
    )
    explain_every: int = number(
        0,
        "steps from one explanation of fixed clips to the next, for TensorBoard; 0: none",
        at_least=0,
        at_most=10**9,
    )
    explain_clips: int = number(
        3, "validation clips that are explained", at_least=1, at_most=100
    )


class Field(NamedTuple):
    """One field of a config.

    Attributes:
        name: with dots, such as ``data.augment.crop``.
        kind: type of its value: int, float, bool or str.
        default: its default.
        rule: what it is and its range.
    """

    name: str
    kind: type
    default: object
    rule: Rule


def every_field(record: type[Record] = Config, prefix: str = "") -> Iterator[Field]:
    """List the fields of a config, nested ones by their dotted names."""
    for field in dataclasses.fields(record):
        assert isinstance(field.type, type)
        if issubclass(field.type, Record):
            yield from every_field(field.type, f"{prefix}{field.name}.")
        else:
            yield Field(
                name=prefix + field.name,
                kind=field.type,
                default=field.default,
                rule=field.metadata["rule"],
            )


def make_config(values: Fields) -> Config:
    """Return the config that some values describe; absent fields have their defaults.

    Raises:
        InputError: an unknown field, or a value of another type or out of range.
    """
    return _make(Config, values, "")


def unknown_field(name: str, names: Iterable[str]) -> InputError:
    """Return the error of a field that does not exist; it names the nearest one."""
    near = difflib.get_close_matches(name, list(names), 1, 0.6)
    suggestion = f"did you mean {near[0]}?" if near else "rgcam train --help lists all"
    return InputError(f"unknown config field {name}: {suggestion}")


def _make(record: type[RecordType], values: Fields, prefix: str) -> RecordType:
    """Make a group of fields from plain values."""
    fields = {field.name: field for field in dataclasses.fields(record)}
    for name in values:
        if name not in fields:
            names = [prefix + other for other in fields]
            raise unknown_field(f"{prefix}{name}", names)
    checked: dict[str, object] = {}
    for name, value in values.items():
        field, path = fields[name], prefix + name
        assert isinstance(field.type, type)
        if not issubclass(field.type, Record):
            checked[name] = _check(path, value, field.type, field.metadata["rule"])
        elif isinstance(value, Mapping):
            checked[name] = _make(field.type, value, f"{path}.")
        else:
            raise InputError(f"{path} is {value!r}; it must be a group of fields")
    return record(**checked)


_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
}


def _check(path: str, value: object, kind: type, rule: Rule) -> object:
    """Return a value as its field's type.

    Raises:
        InputError: it has another type, or is out of range.
    """
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise InputError(f"{path} is {value!r}; it must be {_KINDS[kind]}")
    if not rule.allows(value):
        if rule.choices:
            raise InputError(f"{path} is {value!r}; choose {' or '.join(rule.choices)}")
        raise InputError(f"{path} is {value}; it must be {rule.range_text()}")
    return value
