"""One session of a sweep: connects to Ray, packs trials together, schedules them and records what they report."""
