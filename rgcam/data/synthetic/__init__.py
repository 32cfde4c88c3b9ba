"""Clips drawn from a seed, with their ground truth.

``draw``      clips of either kind, in memory
``stickman``  figures that perform 11 actions, three pairs of which differ in order only
``cue``       clips whose class is determined by one planted frame
``figure``    the figure: its poses, paths through them, and how it is painted
"""
