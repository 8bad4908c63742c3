"""A driver with one actor on a worker, which it takes away once the worker's node drains, as a sweep's driver does.

python leaving_driver.py ADDRESS FOLDER calls-back|stays
"""

import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray._private.state import state


class Work:
    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def main(address: str, folder: Path, manner: str) -> None:
    ray.init(address=address, log_to_driver=False)
    work: Any = ray.remote(num_cpus=1)(Work).remote()
    node = ray.get(work.node.remote())
    (folder / "works").touch()
    while node not in (draining := state.get_draining_nodes()):
        time.sleep(0.1)
    (folder / "left").write_text(str(draining[node] / 1000 - time.time()))
    if manner == "stays":
        time.sleep(3600)
    ray.kill(work)
    while (found := next(one for one in ray.nodes() if one["NodeID"] == node))["Alive"]:
        time.sleep(0.1)
    (folder / "gone").write_text(found["DeathReasonMessage"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
