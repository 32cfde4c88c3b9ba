"""Clips drawn from a seed, with their ground truth.

``draw``      clips of either kind in memory
``stickman``  figures that perform 11 actions, three pairs of which differ in order only
``cue``       clips whose class one planted frame determines
``poses``     how the figure stands and moves
``paint``     how a figure becomes pixels
"""
