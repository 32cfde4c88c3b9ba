"""Many videos: explained on all devices, recorded so that kills lose nothing.

========  =========================================================================
run       the whole: list the videos, explain those that are left, follow the progress
jobs      what every worker is given; videos decoded ahead of the devices
memory    the longest clip that fits on a device
worker    one process: decoded videos -> explanations -> files and manifest rows
cluster   the same by the workers of a Ray cluster
manifest  the record of a run: one JSON line per video
========  =========================================================================

Nothing is imported here: the manifest can be read without JAX's devices.
"""
