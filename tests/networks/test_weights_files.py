"""Weights by name, from a real HTTP server, and files of every kind, whole and broken."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import reslab
from reslab import untrusted as foreign
from reslab.errors import DownloadError, WeightsError
from reslab.networks.weights import files as weights_file
from reslab.networks.weights.files import imagenet_url, read_weights


def state() -> dict[str, Tensor]:
    return dict(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(map(torch.equal, a.values(), b.values()))


class Server:
    """A folder over HTTP, and torch's cache in another."""

    def __init__(self, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache, self.patch = folder, cache, monkeypatch
        self.requests: list[str] = []
        handler = partial(_Handler, directory=str(folder), log=self.requests)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self.http.serve_forever, daemon=True).start()

    def offer(self, content: bytes, digest: str | None = None, name: str = "") -> Path:
        """Serves the content as resnet18's ImageNet weights; returns where it belongs in the cache."""
        name = name or f"resnet18-{digest or hashlib.sha256(content).hexdigest()[:8]}.pth"
        (self.folder / name).write_bytes(content)
        url = f"http://127.0.0.1:{self.http.server_port}/{name}"
        self.patch.setattr(weights_file, "imagenet_url", lambda network: url)
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
        """Silent."""


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


def test_imagenet_weights_are_fetched_once_with_a_bar_and_fill_the_network(
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


def test_a_file_put_there_by_hand_is_used_without_a_network(
    server: Server, file: Callable[..., Path]
) -> None:
    content = file(state()).read_bytes()
    cached = server.offer(content)
    server.close()
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    report = reslab.load_pretrained(network, "resnet18", "imagenet")
    assert report.complete
    assert report.source == str(cached)
    assert same(dict(network.state_dict()), read_weights(cached))


@pytest.mark.parametrize("name", ["", "cut-resnet18-{digest}.pth"])
def test_a_download_that_is_not_the_file_leaves_nothing_behind(
    name: str, server: Server, file: Callable[..., Path], refuses: Any
) -> None:
    content = file(state()).read_bytes()
    right = hashlib.sha256(content).hexdigest()[:8]
    cached = server.offer(content, digest="01234567", name=name.format(digest=right))
    with refuses(DownloadError, "did not arrive whole", "hash", "try again", str(cached)):
        reslab.resnet18(weights="imagenet")
    assert os.listdir(cached.parent) == []


def test_offline_the_answer_names_what_to_fetch_and_where_to_put_it(server: Server, refuses: Any) -> None:
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
    """Hears one request, in a thread of its own, and does with the connection what `answer` does."""

    def serve() -> None:
        connection, _ = listener.accept()
        answer(connection)

    Thread(target=serve, daemon=True).start()


HALF = b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"half" * 99


@pytest.mark.parametrize("said", [b"", HALF], ids=["at once", "half way"])
def test_a_server_that_falls_silent_is_given_up(said: bytes, server: Server, refuses: Any) -> None:
    cached = server.offer(b"never sent")
    server.patch.setattr(foreign, "SERVER_TIMEOUT_S", 0.3)
    open_still = []

    def answer(connection: socket.socket) -> None:
        open_still.append(connection)
        connection.recv(9999)
        connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer_once(listener, answer)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{cached.name}"
        server.patch.setattr(weights_file, "imagenet_url", lambda network: url)
        with refuses(DownloadError, f"{url} could not be fetched", "timed out", f"put it at {cached}"):
            reslab.resnet18(weights="imagenet")
    assert open_still
    assert os.listdir(cached.parent) == []
    assert socket.getdefaulttimeout() is None


def test_a_secure_connection_that_breaks_is_no_fault_of_the_disk(
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
        server.patch.setattr(weights_file, "imagenet_url", lambda network: url)
        with refuses(DownloadError, f"{url} could not be fetched", "[SSL", f"put it at {cached}"):
            reslab.resnet18(weights="imagenet")
    assert os.listdir(cached.parent) == []


def test_a_cache_that_cannot_be_written_is_named(
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


def test_the_url_is_torchvisions_and_carries_its_hash(refuses: Any) -> None:
    default = torchvision.models.ResNet50_Weights.DEFAULT
    assert imagenet_url("resnet50") == default.url
    assert imagenet_url("mobilenet_v3_small").endswith(".pth")
    with refuses(WeightsError, "no ImageNet weights for 'cifar_resnet20'", "resnet18"):
        imagenet_url("cifar_resnet20")


def test_safetensors_and_pth_give_the_same_tensors(tmp_path: Path, file: Callable[..., Path]) -> None:
    tensors = state()
    save_file(tensors, tmp_path / "weights.safetensors")
    for read in (read_weights(tmp_path / "weights.safetensors"), read_weights(file(tensors))):
        assert same(dict(sorted(read.items())), dict(sorted(tensors.items())))


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
def test_wrappers_are_looked_into(wrap: Callable[[Any], Any], legacy: bool, tmp_path: Path) -> None:
    tensors = state()
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=not legacy)
    assert same(read_weights(path), tensors)


class Leaves:
    """Unpickled by an unguarded reader, this writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_file_is_refused_and_never_runs(
    tmp_path: Path, file: Callable[..., Path], refuses: Any
) -> None:
    mark = tmp_path / "it ran"
    dangerous = file({"state_dict": {**state(), "extra": Leaves(mark)}})
    with refuses(WeightsError, "was not loaded", "mkdir", "could execute code", "state_dict()"):
        read_weights(dangerous)
    raw = tmp_path / "raw.pth"
    raw.write_bytes(pickle.dumps({"weight": Leaves(mark)}, protocol=2))
    with refuses(WeightsError, str(raw)):
        read_weights(raw)
    assert not mark.exists()
    pickle.loads(raw.read_bytes())  # the proof that it would have
    assert mark.exists()


def test_a_whole_pickled_network_is_refused_by_its_class(file: Callable[..., Path], refuses: Any) -> None:
    with refuses(WeightsError, "torch.nn.modules.linear.Linear", "save only the state dict"):
        read_weights(file(nn.Linear(2, 2)))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit has no scripts there")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused_as_a_program(tmp_path: Path, refuses: Any) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    with refuses(WeightsError, "TorchScript", "could execute code"):
        read_weights(tmp_path / "script.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("harm", ["empty", "random", "text", "cut short"])
def test_a_file_that_is_no_weights_file_is_named(
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
        "text": b"<!DOCTYPE html>\n<html>Not found</html>\n" * 20,
        "cut short": whole[: len(whole) // 2],
    }[harm]
    path.write_bytes(content)
    with refuses(WeightsError, str(path), "can be read", "cut short or of another kind"):
        read_weights(path)
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(3), {"state_dict": {}}, {}])
def test_a_file_without_named_tensors_is_named(content: Any, file: Callable[..., Path], refuses: Any) -> None:
    with refuses(WeightsError, "holds no tensors by name", "state_dict, ", "torch.save(network.state_dict()"):
        read_weights(file(content))


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path, refuses: Any) -> None:
    with refuses(WeightsError, str(tmp_path), "it is a folder"):
        read_weights(tmp_path)
    with refuses(WeightsError, "absent.pth", "nothing is there", "'imagenet'"):
        reslab.load_pretrained(reslab.cifar_resnet20(), "cifar_resnet20", tmp_path / "absent.pth")
