"""The part of EC2's instance metadata that says when a spot instance goes: nothing until it is so far, to tokens only.

python instance_metadata.py ADDRESS FILE    answers with the content of FILE once it exists
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

TOKEN = "metadata-token"  # noqa: S105 - of nothing


class Metadata(BaseHTTPRequestHandler):
    notice = Path()

    def do_PUT(self) -> None:
        asked = (self.path, self.headers["X-aws-ec2-metadata-token-ttl-seconds"])
        self._answer(200 if asked == ("/latest/api/token", "60") else 400, TOKEN)

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self._answer(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and self.notice.exists():
            self._answer(200, self.notice.read_text())
        else:
            self._answer(404, "not found")

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    Metadata.notice = Path(sys.argv[2])
    HTTPServer((sys.argv[1], 80), Metadata).serve_forever()
