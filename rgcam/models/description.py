"""What model.json says about a model: every field with its type and its allowed values.

``DescriptionFields`` is the file as it is read and written; its classes state each field
once, as ``Annotated[type, Rule]``, and ``_check`` holds values to these rules.
``Description`` is the same in memory.
"""

import dataclasses
import difflib
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple, NotRequired, TypedDict, cast

from rgcam.errors import InputError
from rgcam.models.backbones import Preprocess
from rgcam.models.layers import CELLS, HEADS
from rgcam.types import Fields


class Variant(NamedTuple):
    """One size of EfficientNet-Lite.

    Attributes:
        size: S of its ImageNet weights, pixels.
        depth: multiplies the blocks of the inner stages.
        width: multiplies the channels.
    """

    size: int
    depth: float
    width: float


VARIANTS = {
    "efficientnet_lite0": Variant(size=224, depth=1.0, width=1.0),
    "efficientnet_lite1": Variant(size=240, depth=1.1, width=1.0),
    "efficientnet_lite2": Variant(size=260, depth=1.2, width=1.1),
}


KINDS = ("cnn", "lrcn", "captioner")
SPECIAL_WORDS = ("<start>", "<end>")
"""The first classes of a captioner: read before the first word, and written after the last."""
RESNET_DEPTHS = (18, 34, 50)
BACKBONES = ("small", *VARIANTS, *(f"resnet{depth}" for depth in RESNET_DEPTHS))
VIEWS = ("rgb", "difference", "rgb+difference")


class Rule(NamedTuple):
    """Which values a field may have.

    Attributes:
        allowed: the values in words that complete "it must be ...".
        accepts: whether a value is allowed, which includes its type.
    """

    allowed: str
    accepts: Callable[[object], bool]


def _one_of(names: Iterable[str]) -> Rule:
    choices = tuple(names)
    return Rule(
        f"one of {', '.join(choices)}",
        lambda value: isinstance(value, str) and value in choices,
    )


def _is_number(value: object) -> typing.TypeGuard[int | float]:
    # True and False are numbers to Python.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(low: int, high: int) -> Rule:
    return Rule(
        f"a whole number from {low} to {high}",
        lambda value: (
            _is_number(value) and isinstance(value, int) and low <= value <= high
        ),
    )


# NaN and infinity fail the comparisons of all rules for numbers.
_BOOLEAN = Rule("true or false", lambda value: isinstance(value, bool))
_MAPPING = Rule("a mapping", lambda value: isinstance(value, Mapping))
_DROPOUT = Rule(
    "a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1
)
_CROP = Rule(
    "null or a number above 0, at most 1",
    lambda value: value is None or (_is_number(value) and 0 < value <= 1),
)
_FPS = Rule(
    "a number above 0, at most 100000",
    lambda value: _is_number(value) and 0 < value <= 100_000,
)
_OFFSET = Rule(
    "a number from -100000 to 100000, or three of them",
    lambda value: _one_or_three(value, lambda number: -100_000 <= number <= 100_000),
)
_SCALE = Rule(
    "a number above 0, at most 100000, or three of them",
    lambda value: _one_or_three(value, lambda number: 0 < number <= 100_000),
)
_CLASSES = Rule(
    "a list of one or more class names, which are texts and not empty",
    lambda value: (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(name, str) and name != "" for name in value)
    ),
)


def _one_or_three(value: object, in_range: Callable[[float], bool]) -> bool:
    """Tell whether a value is a number in range, or three: of red, green and blue."""
    three = isinstance(value, (list, tuple)) and len(value) == 3
    numbers = value if three else [value]
    return all(_is_number(number) and in_range(number) for number in numbers)


class Architecture(TypedDict):
    """The field ``arch`` of model.json, and ``model`` of a training config.

    Attributes:
        kind: frame CNN, LRCN or captioner.
        backbone: the network below the cut.
        head: what maps a frame's feature map to a vector.
        width: units of the head fc.
        dropout: share of the frame vector and of the state that training drops.
        cell: of an LRCN or a captioner, which must have it.
        hidden: H, units of the recurrent state; an LRCN or a captioner must have it.
        view: which images of a frame the backbone receives; without it, rgb, as a
            captioner must.
        differences: whether an LRCN also receives how the frame vector changed.
    """

    kind: Annotated[str, _one_of(KINDS)]
    backbone: Annotated[str, _one_of(BACKBONES)]
    head: Annotated[str, _one_of(HEADS)]
    width: Annotated[int, _whole(1, 65536)]
    dropout: Annotated[float, _DROPOUT]
    cell: NotRequired[Annotated[str, _one_of(CELLS)]]
    hidden: NotRequired[Annotated[int, _whole(1, 65536)]]
    view: NotRequired[Annotated[str, _one_of(VIEWS)]]
    differences: NotRequired[Annotated[bool, _BOOLEAN]]


class PreprocessFields(TypedDict):
    """The field ``preprocess`` of model.json: see ``Preprocess``."""

    size: Annotated[int, _whole(1, 4096)]
    crop: Annotated[float | None, _CROP]
    offset: Annotated[float | list[float], _OFFSET]
    scale: Annotated[float | list[float], _SCALE]


class DescriptionFields(TypedDict):
    """The content of model.json: see ``Description``."""

    arch: Architecture
    classes: Annotated[list[str], _CLASSES]
    preprocess: PreprocessFields
    fps: Annotated[float, _FPS]
    frozen: Annotated[bool, _BOOLEAN]
    results: NotRequired[Annotated[Fields, _MAPPING]]


@dataclasses.dataclass(frozen=True)
class Description:
    """Everything about a model but its weights.

    Attributes:
        arch: the fields of ``classifiers.build``.
        classes: class names, in the order of the scores: of a captioner its words, of
            which the first are SPECIAL_WORDS.
        preprocess: how video frames become the model's input.
        fps: frames per second at which the model was trained.
        frozen: whether the backbone has the pretrained weights of its name, which are
            then not stored again.
        results: how it was trained and what it scored.
    """

    arch: Architecture
    classes: tuple[str, ...]
    preprocess: Preprocess
    fps: float
    frozen: bool
    results: Fields = dataclasses.field(default_factory=dict)


def to_fields(description: Description) -> Fields:
    """Return what model.json contains for a description.

    Raises:
        InputError: a field has a value that is not allowed.
    """
    fields = vars(description) | {"preprocess": description.preprocess._asdict()}
    _check_description(fields)
    return fields


def from_fields(content: object) -> Description:
    """Return the description that the content of a model.json states.

    Args:
        content: the file, parsed as JSON.

    Raises:
        InputError: a field is missing, unknown, or has a value that is not allowed.
    """
    fields = _check_description(content)
    preprocess, crop = fields["preprocess"], fields["preprocess"]["crop"]
    return Description(
        arch=fields["arch"],
        classes=tuple(fields["classes"]),
        preprocess=Preprocess(
            size=preprocess["size"],
            crop=None if crop is None else float(crop),
            offset=_number_or_rgb(preprocess["offset"]),
            scale=_number_or_rgb(preprocess["scale"]),
        ),
        fps=float(fields["fps"]),
        frozen=fields["frozen"],
        results=fields.get("results", {}),
    )


def check_architecture(arch: object, prefix: str) -> Architecture:
    """Return the fields of an architecture if they are allowed.

    Args:
        arch: a mapping of fields.
        prefix: what comes before their names in messages, such as ``model.``.

    Raises:
        InputError: a field is missing, unknown, or has a value that is not allowed.
    """
    _check(arch, Architecture, prefix)
    fields = cast(Architecture, arch)
    kind = fields["kind"]
    if kind != "cnn":
        for name in ("cell", "hidden"):
            _check_field(fields, name, _fields_of(Architecture)[name], prefix)
    if kind != "lrcn" and fields.get("differences"):
        raise InputError(
            f"{prefix}differences is True; it must be False where {prefix}kind is {kind}: "
            "only an lrcn reads the changes of frame vectors"
        )
    view = fields.get("view", "rgb")
    if kind == "captioner" and view != "rgb":
        raise InputError(
            f"{prefix}view is {view!r}; it must be rgb where {prefix}kind is captioner"
        )
    return fields


def check_backbone(arch: Fields, prefix: str) -> str:
    """Return the name of an architecture's backbone if there is one of this name.

    Raises:
        InputError: there is none.
    """
    _check_field(arch, "backbone", _fields_of(Architecture)["backbone"], prefix)
    return cast(Architecture, arch)["backbone"]


def _check_description(content: object) -> DescriptionFields:
    _check(content, DescriptionFields, "")
    fields = cast(DescriptionFields, content)
    arch = check_architecture(fields["arch"], "arch.")
    if fields["frozen"] and arch["backbone"] == "small":
        raise InputError(
            "frozen is True; it must be False where arch.backbone is small, which has "
            "no pretrained weights"
        )
    words = tuple(fields["classes"])
    if arch["kind"] == "captioner" and words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
        raise InputError(
            f"classes begin with {reprlib.repr(words[: len(SPECIAL_WORDS)])}; they must "
            f"begin with {', '.join(SPECIAL_WORDS)} where arch.kind is captioner"
        )
    size = fields["preprocess"]["size"]
    if arch["backbone"] == "small" and size % 2:
        raise InputError(
            f"preprocess.size is {size}; it must be even where arch.backbone is small"
        )
    return fields


class _Field(NamedTuple):
    """A field of a TypedDict.

    Attributes:
        required: whether it must be there.
        rule: which values it may have.
        record: the TypedDict that it is itself, or None.
    """

    required: bool
    rule: Rule
    record: type | None


def _fields_of(record: type) -> dict[str, _Field]:
    """Read the fields of a TypedDict from its type hints."""
    fields = {}
    for name, hint in typing.get_type_hints(record, include_extras=True).items():
        required = typing.get_origin(hint) is not NotRequired
        hint = hint if required else typing.get_args(hint)[0]
        if typing.is_typeddict(hint):
            fields[name] = _Field(required, _mapping_of(hint), record=hint)
        else:
            _, rule = typing.get_args(hint)  # Annotated[type, rule]
            fields[name] = _Field(required, rule, record=None)
    return fields


def _mapping_of(record: type) -> Rule:
    names = ", ".join(typing.get_type_hints(record))
    return Rule(f"a mapping with the fields {names}", _MAPPING.accepts)


def _check(fields: object, record: type, prefix: str) -> None:
    """Raise InputError unless fields meet the rules of a TypedDict."""
    rules = _fields_of(record)
    if not isinstance(fields, Mapping):
        place = prefix.rstrip(".") or "its content"
        allowed = _mapping_of(record).allowed
        raise InputError(f"{place} is {reprlib.repr(fields)}; it must be {allowed}")
    for name, value in fields.items():
        if name not in rules:
            near = difflib.get_close_matches(str(name), rules, 1)
            fields_are = f"the fields are {', '.join(rules)}"
            raise InputError(
                f"{prefix}{name} is {reprlib.repr(value)}, which is not a field of a "
                f"model; {f'did you mean {near[0]}?' if near else fields_are}"
            )
    for name, field in rules.items():
        if name in fields or field.required:
            _check_field(fields, name, field, prefix)


def _check_field(fields: Fields, name: str, field: _Field, prefix: str) -> None:
    """Raise InputError unless a field is there and meets its rule."""
    if name not in fields:
        raise InputError(f"{prefix}{name} is missing; it must be {field.rule.allowed}")
    value = fields[name]
    if not field.rule.accepts(value):
        raise InputError(
            f"{prefix}{name} is {reprlib.repr(value)}; it must be {field.rule.allowed}"
        )
    if field.record is not None:
        _check(value, field.record, f"{prefix}{name}.")


def _number_or_rgb(
    value: int | float | list[int | float],
) -> float | tuple[float, float, float]:
    if isinstance(value, list):
        red, green, blue = map(float, value)
        return red, green, blue
    return float(value)
