"""A fake door with its safety off: it says 200 at once and stores half a second later. The twin of the kills must find it out.

python -m tests.chaos.fake_early_door PORT FILE
"""

import gzip
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Early(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        threading.Thread(target=keep, args=(body,), daemon=True).start()
        said = json.dumps({"accepted": 1, "duplicate": 0, "rejected": 0, "errors": [], "received_at": time.time()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args: object) -> None:
        return


def keep(body: bytes) -> None:
    time.sleep(0.5)
    with Path(sys.argv[2]).open("a") as file:
        file.write(body.decode() + "\n")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Early).serve_forever()
