"""Many videos: explained in batches on all devices, recorded so that kills lose nothing.

========  =========================================================================
run       the whole: list the videos, explain those that are left, follow the progress
jobs      what every worker is given; videos decoded ahead of the devices
batches   clips of any length -> padded batches of a few shapes -> explanations
worker    one process: decoded videos -> batches -> files and manifest rows
cluster   the same by the workers of a Ray cluster
manifest  the record of a run: one JSON line per video
========  =========================================================================

Nothing is imported here: the manifest can be read without JAX's devices.
"""
