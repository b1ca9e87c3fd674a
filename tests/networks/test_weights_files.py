"""Downloading weights from an HTTP server, and reading valid and damaged weights files."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from materials import without_permission
from safetensors.torch import save_file
from torch import Tensor, nn

import reslab
from reslab import untrusted
from reslab.errors import DownloadError, WeightsError
from reslab.networks.weights import files
from reslab.networks.weights.files import imagenet_url, read_weights


def state() -> dict[str, Tensor]:
    return dict(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict())


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return list(a) == list(b) and all(map(torch.equal, a.values(), b.values()))


class Server:
    """Serves a folder over HTTP; torch's cache is another folder."""

    def __init__(self, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache, self.patch = folder, cache, monkeypatch
        self.requests: list[str] = []
        handler = partial(_Handler, directory=str(folder), log=self.requests)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self.http.serve_forever, daemon=True).start()

    def offer(self, content: bytes, digest: str | None = None, name: str = "") -> Path:
        """Serve `content` as resnet18's ImageNet weights. Return its path in the cache."""
        name = name or f"resnet18-{digest or hashlib.sha256(content).hexdigest()[:8]}.pth"
        (self.folder / name).write_bytes(content)
        url = f"http://127.0.0.1:{self.http.server_port}/{name}"
        self.patch.setattr(files, "imagenet_url", lambda network: url)
        return self.cache / "hub/checkpoints" / name

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, log: list[str], **settings: Any) -> None:
        self.log = log
        super().__init__(*args, **settings)

    def do_GET(self) -> None:
        self.log.append(self.path)
        if not self.path.startswith("/cut-"):
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])  # and hangs up
        return None

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    server = Server(tmp_path / "served", tmp_path / "torch", monkeypatch)
    yield server
    server.close()


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def save(content: Any, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def test_imagenet_weights_are_downloaded_once_with_a_progress_bar(
    server: Server, file: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    source = torchvision.models.resnet18()
    cached = server.offer(file(source.state_dict()).read_bytes())
    network = reslab.resnet18(weights="imagenet")
    assert same(dict(network.state_dict()), dict(source.state_dict()))
    out, err = capfd.readouterr()
    assert "100%" in err
    assert not out
    assert cached.is_file()
    assert os.listdir(cached.parent) == [cached.name]
    again = reslab.resnet18(num_classes=3, weights="imagenet")
    assert torch.equal(again.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert len(server.requests) == 1


def test_a_file_put_into_the_cache_by_hand_is_used_offline(server: Server, file: Callable[..., Path]) -> None:
    content = file(state()).read_bytes()
    cached = server.offer(content)
    server.close()
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    report = reslab.load_pretrained(network, "resnet18", "imagenet")
    assert report.complete
    assert report.source == str(cached)
    assert same(dict(network.state_dict()), read_weights(cached).tensors)


@pytest.mark.parametrize("name", ["", "cut-resnet18-{digest}.pth"])
def test_an_incomplete_or_wrong_download_is_removed(
    name: str, server: Server, file: Callable[..., Path], refuses: Any
) -> None:
    content = file(state()).read_bytes()
    right = hashlib.sha256(content).hexdigest()[:8]
    cached = server.offer(content, digest="01234567", name=name.format(digest=right))
    with refuses(DownloadError, "did not arrive complete", "hash", "try again", str(cached)):
        reslab.resnet18(weights="imagenet")
    assert os.listdir(cached.parent) == []


def test_the_offline_error_names_the_url_and_the_path_in_the_cache(server: Server, refuses: Any) -> None:
    cached = server.offer(b"never fetched")
    (server.folder / cached.name).unlink()
    with refuses(DownloadError, "HTTP Error 404", f"put it at {cached}"):
        reslab.resnet18(weights="imagenet")
    server.close()
    url = f"http://127.0.0.1:{server.http.server_port}/{cached.name}"
    with refuses(DownloadError, f"{url} could not be fetched", "Connection refused", f"put it at {cached}"):
        reslab.resnet18(weights="imagenet")
    assert not cached.exists()


def answer_once(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Accept one connection in a thread and pass it to `answer`."""

    def serve() -> None:
        connection, _ = listener.accept()
        answer(connection)

    Thread(target=serve, daemon=True).start()


HALF = b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"half" * 99


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half"])
def test_a_server_that_stops_sending_times_out(sent: bytes, server: Server, refuses: Any) -> None:
    cached = server.offer(b"never sent")
    server.patch.setattr(untrusted, "SERVER_TIMEOUT_S", 0.3)
    open_still = []

    def answer(connection: socket.socket) -> None:
        open_still.append(connection)
        connection.recv(9999)
        connection.sendall(sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer_once(listener, answer)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{cached.name}"
        server.patch.setattr(files, "imagenet_url", lambda network: url)
        with refuses(DownloadError, f"{url} could not be fetched", "timed out", f"put it at {cached}"):
            reslab.resnet18(weights="imagenet")
    assert open_still
    assert os.listdir(cached.parent) == []
    assert socket.getdefaulttimeout() is None


def test_a_broken_tls_connection_is_not_reported_as_a_disk_error(
    server: Server, tmp_path: Path, refuses: Any
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl, which makes the certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out our.pem -days 2 -subj /CN=us"
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    server.patch.setenv("SSL_CERT_FILE", str(tmp_path / "our.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "our.pem", tmp_path / "key.pem")
    cached = server.offer(b"never sent")

    def answer(connection: socket.socket) -> None:
        secure = context.wrap_socket(connection, server_side=True)
        secure.recv(9999)
        secure.sendall(HALF)
        with socket.socket(fileno=secure.detach()) as plain:
            plain.sendall(b"not a word of TLS" * 99)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer_once(listener, answer)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/{cached.name}"
        server.patch.setattr(files, "imagenet_url", lambda network: url)
        with refuses(DownloadError, f"{url} could not be fetched", "[SSL", f"put it at {cached}"):
            reslab.resnet18(weights="imagenet")
    assert os.listdir(cached.parent) == []


def test_a_cache_that_cannot_be_written_is_reported(
    server: Server, tmp_path: Path, small_disk: Callable[..., Path], refuses: Any
) -> None:
    server.offer(os.urandom(3_000_000))
    (tmp_path / "a file").write_text("in the way")
    server.patch.setenv("TORCH_HOME", str(tmp_path / "a file"))
    with refuses(DownloadError, "could not be written", "a file", "TORCH_HOME"):
        reslab.resnet18(weights="imagenet")
    full = small_disk()
    server.patch.setenv("TORCH_HOME", str(full))
    with refuses(DownloadError, "could not be written", "No space left", "make room"):
        reslab.resnet18(weights="imagenet")
    assert os.listdir(full / "hub/checkpoints") == []


def test_the_url_is_torchvisions_default(refuses: Any) -> None:
    default = torchvision.models.ResNet50_Weights.DEFAULT
    assert imagenet_url("resnet50") == default.url
    assert imagenet_url("mobilenet_v3_small").endswith(".pth")
    with refuses(WeightsError, "no ImageNet weights for 'cifar_resnet20'", "resnet18"):
        imagenet_url("cifar_resnet20")


def test_safetensors_and_pth_give_the_same_tensors(tmp_path: Path, file: Callable[..., Path]) -> None:
    tensors = state()
    save_file(tensors, tmp_path / "weights.safetensors")
    for read in (read_weights(tmp_path / "weights.safetensors"), read_weights(file(tensors))):
        assert same(dict(sorted(read.tensors.items())), dict(sorted(tensors.items())))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3, "best": torch.tensor(0.5)},
        lambda s: {"model": s, "optimizer": {"state": {}}, "args": {"lr": 0.1}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"model_state_dict": s},
        lambda s: {"net": s, "acc": 93.0},
        lambda s: {**s, "epoch": 7},
    ],
)
def test_wrappers_are_removed(wrap: Callable[[Any], Any], legacy: bool, tmp_path: Path) -> None:
    tensors = state()
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=not legacy)
    assert same(read_weights(path).tensors, tensors)


class MakesFolder:
    """Makes a folder when it is unpickled without weights_only."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_file_is_refused_and_never_runs(
    tmp_path: Path, file: Callable[..., Path], refuses: Any
) -> None:
    mark = tmp_path / "it ran"
    dangerous = file({"state_dict": {**state(), "extra": MakesFolder(mark)}})
    with refuses(WeightsError, "was not loaded", "mkdir", "could execute code", "state_dict()"):
        read_weights(dangerous)
    raw = tmp_path / "raw.pth"
    raw.write_bytes(pickle.dumps({"weight": MakesFolder(mark)}, protocol=2))
    with refuses(WeightsError, str(raw)):
        read_weights(raw)
    assert not mark.exists()
    pickle.loads(raw.read_bytes())  # without weights_only it runs
    assert mark.exists()


def test_a_pickled_network_is_refused_and_its_class_named(file: Callable[..., Path], refuses: Any) -> None:
    with refuses(WeightsError, "torch.nn.modules.linear.Linear", "save only the state dict"):
        read_weights(file(nn.Linear(2, 2)))


class Settings(dict[str, Any]):
    """Entries by attribute, as the configurations of many training scripts have them."""


OTHER_CONTENT = {
    "arguments of a script": argparse.Namespace(lr=0.1, data=Path("/photos"), device=torch.device("cpu")),
    "a figure of NumPy": np.float64(0.93),
    "an array of NumPy": np.arange(3),
    "a settings dict": Settings(lr=0.1),
    "a default dict": defaultdict(list, {"loss": [0.5]}),
    "a time": datetime.datetime(2026, 1, 1),
    "a scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(2, 2).parameters()), 3),
    "a network": nn.Linear(2, 2),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("other", OTHER_CONTENT)
def test_what_lies_next_to_the_tensors_is_left_out_and_named(
    other: str, legacy: bool, tmp_path: Path, refuses: Any
) -> None:
    path = tmp_path / "checkpoint.pth"
    content = {"other": OTHER_CONTENT[other], "model": state(), "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if legacy and other == "a network":  # the format keeps its source
        with refuses(WeightsError, "was not loaded", "torch.nn.modules.linear.Linear"):
            read_weights(path)
        return
    read = read_weights(path)
    assert same(read.tensors, content["model"])
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    text = str(reslab.load_pretrained(network, "", path))
    assert f"not read, and not run, as they are not tensors: {read.left_out[0]}" in text


def test_a_function_next_to_the_tensors_never_runs(tmp_path: Path, file: Callable[..., Path]) -> None:
    mark = tmp_path / "it ran"

    class Writes:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(mark)!r}, 'w').close()",)

    read = read_weights(file({"state_dict": state(), "extra": Writes()}))
    assert read.left_out == ("builtins.exec",)
    assert not mark.exists()
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert mark.exists()


def test_a_file_with_a_thousand_classes_is_refused_at_once(file: Callable[..., Path], refuses: Any) -> None:
    classes = [type(f"Class{i}", (), {"__module__": __name__}) for i in range(1000)]
    with pytest.MonkeyPatch.context() as patch:
        for each in classes:
            patch.setitem(globals(), each.__name__, each)
        path = file({"state_dict": state(), "others": classes})
    with refuses(WeightsError, "was not loaded", "1,000 classes and functions"):
        read_weights(path)


@pytest.mark.parametrize(
    ("entry", "content", "taken"),
    [
        ("", {"model": 1, "model_ema": 2}, "model_ema"),  # torchvision's reference scripts
        ("", {"state_dict": 1, "state_dict_ema": 2}, "state_dict_ema"),  # timm's
        ("", {"model": 1, "ema": {"module": 2, "updates": 3}}, "ema.module"),
        ("", {"model": 1, "ema": {"decay": 0.9}}, "model"),
        ("model", {"model": 1, "model_ema": 2}, "model"),
        ("state_dict", {"state_dict": 1, "state_dict_ema": 2}, "state_dict"),
        ("teacher", {"student": 1, "teacher": 2}, "teacher"),
        ("ema.module", {"model": 1, "ema": {"module": 2}}, "ema.module"),
        ("discriminator", {"generator": 1, "discriminator": {"state_dict": 2}}, "discriminator.state_dict"),
    ],
)
def test_averaged_weights_are_taken_and_another_entry_can_be_chosen(
    entry: str, content: dict[str, Any], taken: str, file: Callable[..., Path]
) -> None:
    def with_tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: with_tensors(inner) for name, inner in value.items()}
        return {name: torch.full_like(t, value) for name, t in state().items()} if value in (1, 2) else value

    path = file(with_tensors(content))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    report = reslab.load_pretrained(network, "", f"{path}#{entry}" if entry else path)
    assert report.entry == taken
    value: Any = content
    for name in taken.split("."):
        value = value[name]
    assert bool((network[0].weight == value).all())
    assert report.is_averaged == ("ema" in taken)
    text = f"averaged weights, from the file's entry '{taken}'; choose another: {path}#ENTRY"
    assert (text in str(report)) == (report.is_averaged and not entry)


def test_a_missing_entry_is_refused_and_the_others_are_listed(
    file: Callable[..., Path], refuses: Any
) -> None:
    path = file({"student": state(), "teacher": state(), "epoch": 3})
    with refuses(
        WeightsError, "no tensors that can be chosen for you", "student, teacher", f"{path}#student"
    ):
        read_weights(path)
    with refuses(WeightsError, "no tensors in best", "student, teacher", f"{path}#student"):
        read_weights(f"{path}#best")


def test_a_sign_in_the_name_of_a_file_is_no_entry(file: Callable[..., Path], refuses: Any) -> None:
    path = file(state(), "a#1.pth")
    assert read_weights(path).tensors.keys() == state().keys()
    with refuses(WeightsError, "there is no weights file", "b.pth"):
        read_weights(f"{path.parent}/b.pth#model")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    ("content", "kind", "do"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 46830571\n",
            "Git LFS",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html>Log in</html>\n", "a web page", "download the file itself"),
        (b"\xef\xbb\xbf\n <HTML><head>", "a web page", "download the file itself"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "XML", "download the file itself"),
        (
            b'{"weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}',
            "JSON",
            ".safetensors or .pth",
        ),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5 file, as Keras saves it", "PyTorch"),
    ],
)
def test_files_of_other_kinds_are_called_by_name(
    name: str, content: bytes, kind: str, do: str, tmp_path: Path, refuses: Any
) -> None:
    (tmp_path / name).write_bytes(content)
    with refuses(WeightsError, f"{name} holds no weights", kind, do):
        read_weights(tmp_path / name)


def test_one_of_several_files_is_refused(tmp_path: Path, refuses: Any) -> None:
    save_file(state(), tmp_path / "model-00001-of-00002.safetensors")
    with refuses(WeightsError, "holds a part of the weights", "file 1 of 2"):
        read_weights(tmp_path / "model-00001-of-00002.safetensors")
    save_file(state(), tmp_path / "model-00001-of-00001.safetensors")
    assert read_weights(tmp_path / "model-00001-of-00001.safetensors").tensors


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    tensors = state()
    save_file(tensors, tmp_path / "weights.bin")
    torch.save(tensors, tmp_path / "checkpoint.ckpt")
    for name in ("weights.bin", "checkpoint.ckpt"):
        assert same(
            dict(sorted(read_weights(tmp_path / name).tensors.items())), dict(sorted(tensors.items()))
        )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit has no scripts there")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path, refuses: Any) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    with refuses(WeightsError, "TorchScript", "could execute code"):
        read_weights(tmp_path / "script.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("harm", ["empty", "random", "text", "truncated"])
def test_a_file_that_is_not_a_weights_file_is_refused(
    suffix: str, harm: str, tmp_path: Path, refuses: Any
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state(), path)
    else:
        save_file(state(), path)
    whole = path.read_bytes()
    content = {
        "empty": b"",
        "random": torch.randint(0, 256, (5000,), generator=torch.Generator().manual_seed(1))
        .numpy()
        .tobytes(),
        "text": b"epoch 1: accuracy 0.5\n" * 20,
        "truncated": whole[: len(whole) // 2],
    }[harm]
    path.write_bytes(content)
    with refuses(WeightsError, str(path), "can be read", "truncated or of another format"):
        read_weights(path)
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(3), {"state_dict": {}}, {}])
def test_a_file_without_tensors_by_name_is_refused(
    content: Any, file: Callable[..., Path], refuses: Any
) -> None:
    with refuses(WeightsError, "holds no tensors by name", "state_dict, ", "torch.save(network.state_dict()"):
        read_weights(file(content))


def test_a_folder_and_a_missing_file_have_different_errors(tmp_path: Path, refuses: Any) -> None:
    with refuses(WeightsError, str(tmp_path), "it is a folder"):
        read_weights(tmp_path)
    with refuses(WeightsError, "absent.pth", "nothing is there", "'imagenet'"):
        reslab.load_pretrained(reslab.cifar_resnet20(), "cifar_resnet20", tmp_path / "absent.pth")


def test_a_pipe_is_refused_without_opening_it(tmp_path: Path, refuses: Any) -> None:
    for name in ("pipe.pth", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
        with refuses(WeightsError, name, "not a regular file"):
            read_weights(tmp_path / name)


def test_weights_without_read_permission_are_named_as_such(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "weights.safetensors")
    with (
        without_permission(tmp_path / "weights.safetensors") as path,
        pytest.raises(WeightsError, match="Permission denied"),
    ):
        read_weights(path)


def test_a_changed_byte_of_a_pth_file_is_detected(file: Callable[..., Path], refuses: Any) -> None:
    path = file({"weight": torch.ones(1000)})
    content = path.read_bytes()
    place = content.index(torch.ones(10).numpy().tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    with refuses(WeightsError, "checksum of weights/data/0 is wrong"):
        read_weights(path)


def test_a_compressed_pth_file_is_refused(file: Callable[..., Path], tmp_path: Path, refuses: Any) -> None:
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(file(state())) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for name in archive.namelist():
            out.writestr(name, archive.read(name))
    with refuses(WeightsError, "packed.pth", "it is compressed"):
        read_weights(packed)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_name_that_is_not_utf8_is_read(legacy: bool, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pth"))
    with path.open("wb") as out:
        torch.save(state(), out, _use_new_zipfile_serialization=not legacy)
    assert read_weights(path).tensors.keys() == state().keys()


def test_sparse_and_meta_tensors_are_not_loaded(file: Callable[..., Path]) -> None:
    odd = {"sparse": torch.eye(3).to_sparse(), "meta": torch.empty(3, device="meta")}
    assert list(read_weights(file(state() | odd)).tensors) == list(state())


def test_parameters_are_loaded_as_tensors(file: Callable[..., Path]) -> None:
    tensors = read_weights(file(dict(nn.Linear(2, 2).named_parameters())))
    assert {type(tensor) for tensor in tensors.tensors.values()} == {Tensor}
