"""A model service on loopback for the real Claude Code: the prompt carries the script, so any number of sessions share one server.

`[[RUN: command]]` is a call of the Bash tool, in order; `[[SAY: text]]` the closing words. `fail` is a status for every answer.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RUN = re.compile(r"\[\[RUN:(.*?)\]\]", re.DOTALL)
SAY = re.compile(r"\[\[SAY:(.*?)\]\]", re.DOTALL)
ERRORS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    fail = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def mock_anthropic() -> Iterator[Server]:
    """The running service."""
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer({})

    def do_GET(self) -> None:
        self.answer({"data": [], "has_more": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        if "count_tokens" in self.path:
            self.answer({"input_tokens": 10})
        elif not self.path.startswith("/v1/messages"):
            self.answer({})
        elif self.server.fail:
            error = {"type": ERRORS.get(self.server.fail, "api_error"), "message": "mock"}
            self.answer({"type": "error", "error": error}, self.server.fail)
        else:
            self.message(body)

    def answer(self, data: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def message(self, body: dict[str, Any]) -> None:
        block = next_block(body)
        usage = {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 20}
        stop = {"stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn", "stop_sequence": None}
        head = {
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "usage": usage,
        }
        if not body.get("stream"):
            self.answer({**head, **stop, "content": [block]})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        tool = block["type"] == "tool_use"
        start = {**block, "input": {}} if tool else {"type": "text", "text": ""}
        delta = (
            {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            if tool
            else {"type": "text_delta", "text": block["text"]}
        )
        self.event("message_start", message={**head, "content": [], "stop_reason": None, "stop_sequence": None})
        self.event("content_block_start", index=0, content_block=start)
        self.event("content_block_delta", index=0, delta=delta)
        self.event("content_block_stop", index=0)
        self.event("message_delta", delta=stop, usage={"output_tokens": 20})
        self.event("message_stop")

    def event(self, kind: str, **data: object) -> None:
        self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode())
        self.wfile.flush()


def next_block(body: dict[str, Any]) -> dict[str, Any]:
    """The step of the conversation's script that was not played yet."""
    runs, says, used = [], ["done"], 0
    for message in body["messages"]:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            used += part["type"] == "tool_use"
            if message["role"] == "user" and part["type"] == "text":
                runs += RUN.findall(part["text"])
                says += SAY.findall(part["text"])
    tools = {tool.get("name") for tool in body.get("tools") or []}
    if "Bash" in tools and used < len(runs):
        command = {"command": runs[used].strip(), "description": "scripted step"}
        return {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex}", "name": "Bash", "input": command}
    return {"type": "text", "text": says[-1].strip()}
