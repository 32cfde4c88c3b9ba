"""Training: loss and step, run, progress, results, checkpoints, devices.

``fields``         every field of an experiment: type, default and range
``config``         experiments by name or file; the record of a run's config
``memory``         what a run needs, estimated before any data is read
``run``            a config -> data, model and first state
``step``           loss, optimizer and the pure training and evaluation steps
``mesh``           the devices of all processes as one mesh
``checkpoint``     save and restore a run's state
``progress``       metrics on the terminal, in JSON lines and for TensorBoard; early stops
``explanations``   of a few fixed clips during a run
``distribution``   statistics of the training clips, to warn of clips unlike them
``results``        accuracy on the test clips, and the files that report it
"""
