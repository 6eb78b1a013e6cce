"""A chat endpoint on loopback that answers as a test tells it to."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], "Reply"]


@dataclass
class Reply:
    """What the endpoint sends."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Endpoint:
    """The running endpoint, and what it was asked."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    most_at_once: int = 0


def completion(*tokens: str, logprobs: bool = True, **shares: float) -> Reply:
    """A chat completion of these tokens; `shares` are the first one's probabilities (names may begin with _)."""
    first = {name.lstrip("_"): share for name, share in shares.items()} or {tokens[0]: 1.0}
    content = []
    for index, token in enumerate(tokens):
        listed = first if index == 0 else {token: 1.0}
        top = [{"token": name, "logprob": math.log(share), "bytes": None} for name, share in listed.items()]
        content.append({"token": token, "logprob": 0.0, "bytes": None, "top_logprobs": top})
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "".join(tokens)},
        "logprobs": {"content": content, "refusal": None} if logprobs else None,
    }
    return Reply(body={"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "type": "x", "code": None}}, named)


@contextmanager
def serving(answer: Answer) -> Iterator[Endpoint]:
    """Serve `answer(request, number of the request)` until the block ends."""
    lock = threading.Lock()
    now = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal now
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                endpoint.asked.append(asked)
                endpoint.keys.append(self.headers.get("Authorization", ""))
                number = len(endpoint.asked)
                now += 1
                endpoint.most_at_once = max(endpoint.most_at_once, now)
            try:
                self.send(answer(asked, number))
            finally:
                with lock:
                    now -= 1

        def do_GET(self) -> None:
            self.send(Reply(body={"object": "list", "data": [{"id": "known-model", "object": "model"}]}))

        def send(self, reply: Reply) -> None:
            data = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "text/html" if isinstance(reply.body, str) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
