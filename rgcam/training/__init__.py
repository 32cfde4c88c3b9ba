"""Training: loss and step, run, progress, results, checkpoints, devices.

``config``         experiments by name or file; the config of a run and its record
``run``            a config -> data, model and first state
``step``           loss, optimizer and the pure training and evaluation steps
``mesh``           the devices of all processes as one mesh
``checkpoint``     save and restore a run's state
``interruptions``  SIGTERM, unreadable clips, losses that are not finite
``progress``       numbers on the terminal, in JSON lines and for TensorBoard
``results``        what a run scored, and the files that say so
"""
