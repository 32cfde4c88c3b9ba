"""Video files and datasets -> clips -> batches.

``video``      frames of a video file, sampled by timestamp
``decoding``   packets of a container -> frames, each with its time
``folder``     a folder with one sub-folder per class: its clips and their groups
``clips``      the clips of one split, and padded batches of them
``splits``     training, validation and test parts that divide no group
``sources``    a config's data and frozen backbone -> the clips of each part
``cache``      decoded frames and features on disk
``augment``    random views of a clip, the same for all of its frames
``pipeline``   clips -> shuffled, augmented, padded batches, by Grain
``synthetic``  clips drawn from a seed, with their ground truth
``tfds``       datasets of tensorflow-datasets, without TensorFlow
"""
