"""Ray cluster that is joined or started, and what its nodes have."""

from __future__ import annotations

import logging
import os
import platform
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from reslab.errors import RunError, UsageError
from reslab.hardware import choose_device, cores

ANSWER_S = 3.0  # for a cluster to accept a connection; Ray itself tries for minutes
OWN_CLUSTER = {  # environment variables of Ray for a cluster on this machine
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens on 127.0.0.1 alone, also on Linux
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # as local workers; Ray's default is 15
}
OBJECT_STORE_BYTES = 100 * 2**20  # tasks and results are short texts


def demand_of(device: str) -> dict[str, float]:
    """Return what a cell on this device of a recipe needs: {"CPU": 1}, and "GPU": 1 for CUDA."""
    is_cuda = device.startswith("cuda") or (device == "auto" and choose_device().type == "cuda")
    return {"CPU": 1, "GPU": 1} if is_cuda else {"CPU": 1}


def count_jobs(demand: Mapping[str, float]) -> int:
    """Return the number of cells with this demand that all nodes together can train at a time."""
    fitting = (
        min(int(resources.get(name, 0) // count) for name, count in demand.items())
        for resources in _nodes().values()
    )
    return max(1, sum(fitting))


def check_demand(demand: Mapping[str, float]) -> None:
    """Raise UsageError if no node has what a cell needs. Ray would wait for such a node forever."""
    nodes = _nodes()
    if any(all(has.get(name, 0) >= count for name, count in demand.items()) for has in nodes.values()):
        return
    wanted = " and ".join(f"{count:g} {name}" for name, count in demand.items())
    have = "; ".join(
        f"{node} has " + " and ".join(f"{has.get(name, 0):g} {name}" for name in demand)
        for node, has in nodes.items()
    )
    do = "give --device cpu, or add a node with a GPU" if "GPU" in demand else "add a node to the cluster"
    raise UsageError(f"a cell needs a node with {wanted}", have or "the cluster has no node", do)


def connect() -> Any:
    """Return the module ray, connected to a cluster.

    A cluster of this process is used as it is; else the one that RAY_ADDRESS names is joined; else one is
    started on this machine, which ends with this process. It listens on 127.0.0.1 and asks for a token,
    unless environment variables of Ray say otherwise.

    Raises:
        RunError: the cluster cannot be reached or started.
    """
    if _is_connected():
        return sys.modules["ray"]
    address = _address()
    if address:
        _check_answers(address)
    else:
        for name, value in OWN_CLUSTER.items():  # Ray reads them when it is imported
            os.environ.setdefault(name, value)
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray would write a file that every user can read
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    started_here: dict[str, Any] = {
        "num_cpus": cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else started_here),
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot start"
        why, do = str(error).partition("\n")[0], "use the cores of this machine: --on local"
        raise RunError(what, why, do) from error
    finally:
        if signal.getsignal(signal.SIGTERM) != before:  # Ray's handler exits with code 15
            signal.signal(signal.SIGTERM, before)
    ray._private.worker._worker_logs_enabled = False  # reports of lost workers, on standard output
    return ray


def _address() -> str:
    """Return the address of the cluster to join; "" to start one on this machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    return "" if address == "local" else address


def _is_connected() -> bool:
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _nodes() -> dict[str, Mapping[str, float]]:
    """Return the resources of each node by its name. A cluster on this machine is not started for that."""
    if not _is_connected() and not _address():
        import torch

        return {platform.node(): {"CPU": cores(), "GPU": torch.cuda.device_count()}}
    alive = [node for node in connect().nodes() if node["Alive"]]
    return {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": node["Resources"] for node in alive
    }


def _check_answers(address: str) -> None:
    """Raise RunError if RAY_ADDRESS names a host that accepts no connection."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # "auto", which finds a cluster on this machine
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at RAY_ADDRESS={address}",
            str(error),
            "start it there, or unset RAY_ADDRESS to use this machine",
        ) from error
