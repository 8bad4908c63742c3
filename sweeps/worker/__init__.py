"""A pack in a worker process: trains its lanes, writes checkpoints, watches for hangs and reports every epoch."""
