"""Datasets of tensorflow-datasets, without TensorFlow.

``prepare``   make a dataset of UCF11 or of a folder, and list its clips
``builders``  the dataset builders, and the boxes of UCF11's annotations
``download``  a large file that resumes, and its archive
"""
