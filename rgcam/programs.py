"""Compiled programs kept between processes: a later start neither traces nor compiles them.

JAX's compilation cache keeps what XLA made of a program, but a process must trace the
program anew to find it there, which takes longer than to run it. A function decorated with
``kept`` is found by what its program follows from instead: the function, its static
arguments, the shapes of its arrays, the source code of rgcam, the versions of JAX and of
what it builds on, JAX's settings and the device. The executable that is read is the one
that was written, so that no number changes.

Nothing is kept until ``keep_in`` names a folder, as the command line does. As with JAX's own
cache, who can write there can run code in this process.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import math
import os
import pickle
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import jax
from jax.stages import Compiled
from jaxtyping import PyTree

from rgcam import files
from rgcam.types import Fields

PACKAGE = Path(__file__).parent
ROOMS = ("attribution", "metrics", "models")  # whose source code programs follow from
BUILDS_ON = ("jax", "jaxlib", "flax", "numpy")  # whose versions they depend on
VERSIONS = 3  # of all this, whose programs are kept side by side
SUFFIX = ".program"

Function = TypeVar("Function", bound=Callable[..., object])


@dataclasses.dataclass
class _Store:
    """Where programs are kept, and those that this process has loaded.

    Attributes:
        folder: of the programs of this version on this kind of processor; None: nothing
            is kept.
        loaded: by key.
    """

    folder: Path | None = None
    loaded: dict[str, Compiled] = dataclasses.field(default_factory=dict)


_store = _Store()
_settings = threading.Lock()  # held while one of JAX's settings is another


def keep_in(folder: Path | None) -> None:
    """Keep compiled programs in a folder from now on; None: keep none.

    Args:
        folder: of this kind of processor, writable. Of the programs of other versions of
            rgcam or JAX, those of the latest ``VERSIONS`` stay.
    """
    _store.loaded.clear()
    _store.folder = None
    if folder is None:
        return
    current = folder / _version_digest()
    if not current.is_dir():
        current.mkdir(parents=True)
        versions = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in versions[:-VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)
    _store.folder = current


def kept(*static_argnames: str) -> Callable[[Function], Function]:
    """Compile a function as ``jax.jit`` does, and keep its programs where that is asked for.

    A call is one of the jitted function where nothing is kept, inside another trace, for
    arrays elsewhere than on the first device, and for static arguments that are not plain
    values, records of them or modules of rgcam: what others do is not known from their
    fields.

    Args:
        static_argnames: as of ``jax.jit``.
    """

    def decorate(function: Function) -> Function:
        jitted = jax.jit(function, static_argnames=static_argnames)
        signature = inspect.signature(function)
        names = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is not parameter.KEYWORD_ONLY
        ]

        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            folder = _store.folder
            if folder is None:
                return jitted(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            static = {name: bound.arguments[name] for name in static_argnames}
            # As a compiled program is called: without the static arguments.
            positional = [
                bound.arguments[name] for name in names if name not in static_argnames
            ]
            keywords = {
                name: value
                for name, value in bound.kwargs.items()
                if name not in static_argnames
            }
            arrays = tuple(positional), keywords
            try:
                key = _key(function, static, arrays)
            except _CannotBeKept:
                return jitted(*args, **kwargs)
            if key not in _store.loaded:
                file = folder / f"{key}{SUFFIX}"
                program = _read(file, jax.tree.structure(arrays))
                if program is None:
                    program = _compile(function, static_argnames, bound)
                    _write(file, program)
                _store.loaded[key] = program
            return _store.loaded[key](*positional, **keywords)

        # Offered as by a jitted function; how many programs it has is tested.
        for name in ("lower", "eval_shape", "clear_cache", "_cache_size"):
            setattr(call, name, getattr(jitted, name))
        return cast(Function, call)

    return decorate


class _CannotBeKept(Exception):
    """A call whose program does not follow from what a key can state."""


def _read(file: Path, arguments: jax.tree_util.PyTreeDef) -> Compiled | None:
    """Read a program; None: there is none that can be used.

    Args:
        file: where it would be.
        arguments: structure of the arrays that it is called with.
    """
    from jax.experimental import serialize_executable

    try:
        content, result = pickle.loads(file.read_bytes())
        return serialize_executable.deserialize_and_load(
            content,
            arguments,
            jax.tree.structure(result),
            execution_devices=jax.devices()[:1],
        )
    except Exception:  # absent, damaged, or XLA cannot load it: it is compiled anew
        return None


def _compile(
    function: Callable, static_argnames: tuple[str, ...], bound: inspect.BoundArguments
) -> Compiled:
    """Compile a program that can be written.

    One that came from JAX's compilation cache cannot: what XLA writes of it again lacks
    parts of its code (jax 0.10.2, CPU). So it gets a name that no program had, by which it
    is not found there, and it is not put there either.
    """

    @functools.wraps(function)
    def renamed(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    renamed.__name__ = f"{function.__name__}_{uuid.uuid4().hex}"
    jitted = jax.jit(renamed, static_argnames=static_argnames)
    name = "jax_persistent_cache_min_compile_time_secs"
    with _settings:
        before = getattr(jax.config, name)
        jax.config.update(name, math.inf)
        try:
            return jitted.lower(*bound.args, **bound.kwargs).compile()
        finally:
            jax.config.update(name, before)


def _write(file: Path, program: Compiled) -> None:
    """Write a program if it can be written; without it, the next process compiles anew."""
    from jax.experimental import serialize_executable

    try:
        content, _, tree = serialize_executable.serialize(program)
        # A tree structure cannot be pickled, but what it is the structure of can.
        result = jax.tree.unflatten(tree, range(tree.num_leaves))
        with files.atomic(file) as part:
            part.write_bytes(pickle.dumps((content, result)))
    except Exception:  # a full disk, or a program that this platform cannot write
        return


def _key(function: Callable, static: Fields, arrays: PyTree) -> str:
    """Return a name for the program of a call.

    Raises:
        _CannotBeKept: the program does not follow from what is known of the call.
    """
    leaves, tree = jax.tree.flatten(arrays)
    default_device = getattr(jax.config, "jax_default_device")  # noqa: B009
    first = {jax.devices()[0]}
    if default_device not in (None, *first) or jax.process_count() > 1:
        raise _CannotBeKept
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            raise _CannotBeKept
        if isinstance(leaf, jax.Array) and leaf.devices() != first:
            raise _CannotBeKept
    parts = (
        function.__module__,
        function.__qualname__,
        _describe(tuple(static.items())),
        str(tree),
        [repr(jax.typeof(leaf)) for leaf in leaves],
        # A setting of the moment, such as inside jax.enable_x64, is an attribute.
        [
            (name, repr(getattr(jax.config, name, value)))
            for name, value in sorted(jax.config.values.items())
            if name != "jax_default_device"  # the first one, see above
        ],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _describe(value: object) -> str:
    """Write all that a static argument is.

    Raises:
        _CannotBeKept: its fields may not be all that it is.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple):
        return f"{kind}({', '.join(map(_describe, value))})"
    if dataclasses.is_dataclass(value) and kind.startswith("rgcam."):
        fields = [
            f"{field.name}={_describe(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if field.name != "parent"  # of a Linen module, None outside of a call
        ]
        return f"{kind}({', '.join(fields)})"
    raise _CannotBeKept


def _version_digest() -> str:
    """Return a name for the version of everything that programs are made by and for."""
    digest = hashlib.sha256()
    for name in BUILDS_ON:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    device = jax.devices()[0]
    digest.update(f"{device.client.platform_version} {device.device_kind}\n".encode())
    digest.update(f"{jax.device_count()} {os.environ.get('XLA_FLAGS')}\n".encode())
    for room in ROOMS:
        for file in sorted((PACKAGE / room).rglob("*.py")):
            digest.update(f"{file.relative_to(PACKAGE)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
