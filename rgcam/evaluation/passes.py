"""Passes through a model, compiled once for a module and a length; evaluation's."""

import functools

import jax

from rgcam.attribution import gradcam, methods, perturbation
from rgcam.models import chunks


@functools.partial(jax.jit, static_argnames=("module",))
def features_of(module, variables, frames):
    """Return A (T h w K)."""
    return chunks.features(module, variables, frames)


@functools.partial(jax.jit, static_argnames=("module",))
def scores_of(module, variables, features):
    """Return y (T C)."""
    return module.apply(variables, features, method="classify")


@functools.partial(jax.jit, static_argnames=("module", "method", "baseline"))
def maps_of(module, variables, features, target, *, method, baseline):
    """Return a method's maps (T T h w) as they are shown by default."""
    if method == "gradcam":
        classify = functools.partial(module.apply, variables, method="classify")
        beta = gradcam.importance_weights(classify, features, target)
        return gradcam.heatmaps(beta, features)
    instead = perturbation.replacement(features, baseline)
    maps, _ = methods.signed(method, module, variables, features, instead, target)
    return jax.nn.relu(maps) if methods.rectified(method, None) else maps


@functools.partial(jax.jit, static_argnames=("module", "baseline"))
def lost_of(module, variables, features, target, removed, baseline):
    """Return what removing sets of frames takes (N T), and single frames (T T)."""
    instead = perturbation.replacement(features, baseline)
    upper = perturbation.upper(module, variables, features, instead, target)
    found = upper.outputs(upper.inputs) - perturbation.kept(upper, 1 - removed)
    return found, perturbation.occlusion(upper)


@functools.partial(jax.jit, static_argnames=("baseline",))
def replacement_of(features, baseline):
    """Return what takes every frame's place (T h w K)."""
    return perturbation.replacement(features, baseline)
