"""As much of a W&B server as one run needs, on loopback: it keeps the history, and can refuse, hang or die."""

import gzip
import json
import logging
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def warned(pattern):
    """Within it one of our modules warns of something that matches the pattern."""
    handler, logger = logging.Handler(logging.WARNING), logging.getLogger("cl")
    lines = []
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert any(re.search(pattern, line) for line in lines), lines


class Server(ThreadingHTTPServer):
    """`history`: the rows of each run, by run id. `hangs`: requests are taken and never answered."""

    daemon_threads = True

    def __init__(self, hangs=False):
        self.hangs, self.history, self.config, self.requests = hangs, {}, {}, 0
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request, client_address):
        """A client that hung up is no news."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def rows(self, run):
        return [json.loads(row) for row in self.history.get(run, [])]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.server.requests += 1
        if self.server.hangs:
            time.sleep(600)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        if self.path == "/graphql":
            request = json.loads(body)
            known = getattr(self, request.get("operationName") or "", None)
            if known is None:
                return self.say({"errors": [{"message": "not here"}]})
            return self.say({"data": known(request.get("variables") or {})})
        if self.path.endswith("/file_stream"):
            self.keep(self.path.split("/")[-2], json.loads(body).get("files") or {})
        return self.say({})

    do_PUT = do_GET = do_POST  # noqa: N815

    def say(self, answer):
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def keep(self, run, files):
        """A line has a number: what comes later with the same number takes its place, as at W&B."""
        part = files.get("wandb-history.jsonl")
        if part:
            lines = self.server.history.setdefault(run, [])
            lines[part["offset"] : part["offset"] + len(part["content"])] = part["content"]

    def bucket(self, run):
        return {"id": run, "name": run, "displayName": run, "project": {"name": "cl", "entity": {"name": "me"}}}

    def RunResumeStatus(self, variables):  # noqa: N802 - named as in the protocol
        run = variables["name"]
        if run not in self.server.config:
            return {"model": {"id": "m", "name": "cl", "entity": {"id": "e", "name": "me"}, "bucket": None}}
        history = self.server.history.get(run, [])
        known = {
            "summaryMetrics": history[-1] if history else "{}",
            "logLineCount": 0,
            "historyLineCount": len(history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": {"start_time": 1}}),
        }
        bucket = self.bucket(run) | known
        return {"model": {"id": "m", "name": "cl", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}

    def UpsertBucket(self, variables):  # noqa: N802
        run = variables.get("name") or variables["id"]
        self.server.config.setdefault(run, variables.get("config"))
        return {"upsertBucket": {"bucket": self.bucket(run), "inserted": True}}

    def ServerFeaturesQuery(self, variables):  # noqa: N802
        return {"serverInfo": {"features": []}}

    def Viewer(self, variables):  # noqa: N802
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def CreateRunFiles(self, variables):  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.server.url}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


@contextmanager
def serving(**options):
    """A server in a thread of its own."""
    server = Server(**options)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
