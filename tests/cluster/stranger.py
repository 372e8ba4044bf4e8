"""What somebody without the token gets from a cluster's ports; runs on a host that reaches them.

    python -m tests.cluster.stranger ADDRESS PORT...

Prints, as JSON, for each port what it speaks and what it answers to whom: to somebody without a
token and to somebody with a wrong one.
"""

import http.client
import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]  # comes with Ray, ships no types

WRONG = {"authorization": "Bearer " + "0" * 64}
# What would list, start, read or end something, of each of Ray's services.
CALLS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeInfoGcsService/DrainNode",
    "InternalKVGcsService/InternalKVKeys",
    "InternalKVGcsService/InternalKVPut",
    "JobInfoGcsService/GetAllJobInfo",
    "ActorInfoGcsService/RegisterActor",
    "NodeManagerService/RequestWorkerLease",
    "NodeManagerService/ShutdownRaylet",
    "ObjectManagerService/Pull",
    "RayletDriver/Init",
    "RayletDriver/KVGet",
    "ReporterService/GetTraceback",
    "CoreWorkerService/PushTask",
)
PATHS = ("/", "/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/logs", "/get_or_create_env")


def asked_by_grpc(address: str, port: int, header: dict[str, str]) -> dict[str, str]:
    """The answers by call, of the calls that there are."""
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        found = {}
        for call in CALLS:
            ask = channel.unary_unary(f"/ray.rpc.{call}")
            try:
                ask(b"", timeout=10, metadata=tuple(header.items()))
                found[call] = "OK"
            except grpc.RpcError as error:
                found[call] = error.code().name
        return {call: code for call, code in found.items() if code != "UNIMPLEMENTED"}


def asked_by_http(address: str, port: int, header: dict[str, str]) -> dict[str, str] | None:
    """The answers by path: a status, with the first line of what came; None for no HTTP."""
    found = {}
    for path in PATHS:
        for method in ("GET", "POST"):
            request = urllib.request.Request(
                f"http://{address}:{port}{path}", method=method, headers=header,
                data=b'{"entrypoint": "id"}' if method == "POST" else None,
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    status, body = answer.status, answer.read(200)
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read(200)
            except (OSError, http.client.HTTPException):
                return None
            found[f"{method} {path}"] = f"{status} {body.decode('utf-8', 'replace')}"
    return found


def asked(address: str, port: int, who: str, header: dict[str, str]) -> dict[str, Any]:
    """What a port speaks and answers."""
    answers, speaks = asked_by_http(address, port, header), "HTTP"
    if answers is None:
        answers, speaks = asked_by_grpc(address, port, header), "gRPC"
    return {"port": port, "who": who, "speaks": speaks, "answers": answers}


def main(address: str, *ports: str) -> None:
    """Asks all ports at once."""
    with ThreadPoolExecutor(32) as pool:
        told = [
            pool.submit(asked, address, int(port), who, header)
            for port in ports
            for who, header in (("no token", {}), ("a wrong token", WRONG))
        ]
        print(json.dumps([answer.result() for answer in told]))


if __name__ == "__main__":
    main(*sys.argv[1:])
