"""Datasets of tensorflow-datasets, without TensorFlow.

``prepare``   make a dataset from UCF11 or a folder, and list its clips
``builders``  the dataset builders, and the boxes of UCF11's annotations
``download``  resumable download of a large file, and extraction of its archive
"""
