"""The few answers of a Kubernetes API server that Ray's autoscaler asks for, over HTTPS. Run as a script in a pod.

python kubernetes_api.py FOLDER    with key.pem, certificate.pem and cluster.json, which it keeps up to date
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 6443
FOLDER = Path(sys.argv[1])
CLUSTER = FOLDER / "cluster.json"


class Answers(BaseHTTPRequestHandler):
    """One RayCluster, its pods as they stand in cluster.json, and patches of the numbers of workers."""

    def _say(self, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        known = json.loads(CLUSTER.read_text())
        pods = {"metadata": {"resourceVersion": "1"}, "items": known["pods"]}
        self._say(known["cluster"] if "/rayclusters/" in self.path else pods)

    def do_PATCH(self) -> None:
        known = json.loads(CLUSTER.read_text())
        for change in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            place, *path = change["path"].strip("/").split("/")
            assert place == "spec"
            inside = known["cluster"][place]
            for name in path[:-1]:
                inside = inside[int(name) if name.isdecimal() else name]
            inside[path[-1]] = change["value"]
        new = FOLDER / "cluster.new"
        new.write_text(json.dumps(known))
        new.replace(CLUSTER)
        self._say(known["cluster"])


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", PORT), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "certificate.pem", FOLDER / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
