"""A small tracking server on loopback that speaks as much of MLflow's REST as a run needs, and can be switched off and on."""

import contextlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Store:
    """What one run sent: metrics as (name, step) -> values, tags, status. `answer`: a status code and body instead of the truth."""

    def __init__(self, artifacts: str):
        self.artifacts, self.run_id = artifacts, secrets.token_hex(16)  # MLflow remembers where the files of a run go
        self.metrics: dict[tuple[str, int], list[float]] = {}
        self.tags: dict[str, str] = {}
        self.status = "none"
        self.requests = 0
        self.answer: tuple[int, str] | None = None
        self.port = 0
        self._server = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self) -> None:
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
                code, body = store.answer or (200, json.dumps(store.reply(urlsplit(self.path).path.rpartition("/mlflow/")[2], sent)))
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def off(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def reply(self, call: str, sent: dict) -> dict:
        self.requests += 1
        info = {"run_id": self.run_id, "experiment_id": "0", "status": self.status, "artifact_uri": self.artifacts, "lifecycle_stage": "active"}
        if call == "experiments/get-by-name":
            return {"experiment": {"experiment_id": "0", "name": "motion-grpo", "lifecycle_stage": "active"}}
        if call == "runs/log-batch":
            for metric in sent.get("metrics", ()):
                self.metrics.setdefault((metric["key"], int(metric["step"])), []).append(metric["value"])
            self.tags |= {tag["key"]: tag["value"] for tag in sent.get("tags", ())}
            return {}
        if call in ("runs/create", "runs/update"):
            self.status = sent.get("status", "RUNNING")
            return {"run": {"info": info}, "run_info": info}
        if call == "runs/get":
            names = {name for name, _ in self.metrics}
            return {"run": {"info": info, "data": {"metrics": [{"key": name, "value": 0, "step": 0, "timestamp": 0} for name in names]}}}
        if call == "metrics/get-history":
            return {"metrics": [{"key": name, "value": values[0], "step": step, "timestamp": 0} for (name, step), values in self.metrics.items()]}
        raise AssertionError(call)


@contextlib.contextmanager
def running(artifacts: str):
    store = Store(artifacts)
    store.on()
    try:
        yield store
    finally:
        store.off()
