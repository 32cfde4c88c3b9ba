"""The mathematics: Eq. 1 and 2 and their relatives, as pure functions of arrays.

``explain``       a clip by any method; method names; the one door to all of them
``gradcam``       Eq. 1 and 2, and the other class activation maps
``targets``       the explained scalar: a class, a class of each step, a function of scores
``causal``        all pairs of a causal model by blocks, with the theorems behind it
``gradients``     gradient x change, integrated gradients (path), averaged gradients (fade)
``perturbation``  baselines, replacement of frames and cells, occlusion, Shapley values
``padding``       clips of any length by a few compiled programs, within the memory there is
``maps``          the matrix, aggregation over t', attribution by lag, resizing
``long``          rows of a long video within a memory budget
``stream``        one frame after another, in constant memory

It imports jax and numpy, and nothing that reads or writes files.
"""
