"""Explanations of a few fixed clips during a run: how the evidence moves as it learns.

The clips are the same throughout: of the validation clips, or of the training clips where a
run has none. Each process could compute them alone, for all of them have all parameters; the
one that writes does so.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from rgcam.attribution import explain, maps
from rgcam.attribution.explain import Explanation, StaticOptions
from rgcam.training import distribution
from rgcam.training.fields import Config
from rgcam.training.run import Run
from rgcam.training.step import TrainState, merge
from rgcam.types import Tensor, Variables

METHOD = "fade"  # faithful, for a fifth more than a pass (docs/which-method.md)


class FixedClip(NamedTuple):
    """A clip that is explained again and again.

    Attributes:
        name: of the clip.
        label: its class, which is explained.
        inputs: as the run reads them: frames, or features of frozen blocks.
        frames: RGB; None where the run reads features.
    """

    name: str
    label: int
    inputs: np.ndarray
    frames: UInt8[np.ndarray, "T S S 3"] | None


class ClipExplanation(NamedTuple):
    """What a step of the training makes of one clip.

    Attributes:
        clip: the clip.
        scores: y (T C), logits.
        matrix: (T T), signed, in logits.
        maps: of each frame, for the last output step: (T h w), signed, in logits.
    """

    clip: FixedClip
    scores: Float[np.ndarray, "T C"]
    matrix: Float[np.ndarray, "T T"]
    maps: Float[np.ndarray, "T h w"]


def choose_clips(config: Config, run: Run) -> tuple[FixedClip, ...]:
    """Choose the clips that are explained, by one fixed seed: ``explain_clips`` of them.

    Each has at most ``data.length`` frames, so that one compiled program serves most.
    """
    clips = distribution.choose(
        run.source.validation or run.source.train, config.explain_clips
    )
    chosen = []
    for number, (name, label) in enumerate(zip(clips.names, clips.labels, strict=True)):
        inputs = np.asarray(clips.inputs[number])[: config.data.length]
        is_frames = inputs.dtype == np.uint8
        chosen.append(
            FixedClip(
                name=name,
                label=int(label),
                inputs=inputs,
                frames=inputs if is_frames else None,
            )
        )
    return tuple(chosen)


def explainer(
    run: Run,
) -> Callable[[TrainState, Sequence[FixedClip]], list[ClipExplanation]]:
    """Return what explains clips by the state of a step; it is compiled once."""

    @jax.jit
    def explain_clip(
        variables: Variables, inputs: Tensor, label: Int[Array, ""]
    ) -> Explanation:
        return explain.explain_features(
            run.module,
            variables,
            run.feature_maps(variables, inputs),
            label,
            options=StaticOptions(
                relu=False, beta=False, method=METHOD, baseline="previous"
            ),
        )

    def explain_clips(
        state: TrainState, clips: Sequence[FixedClip]
    ) -> list[ClipExplanation]:
        # Whole on each process, which need not wait for the others.
        params = jax.tree.map(_own_copy, merge(state.frozen, state.params))
        explained = []
        for clip in clips:
            result = explain_clip(
                {"params": params}, clip.inputs, jnp.asarray(clip.label)
            )
            explained.append(
                ClipExplanation(
                    clip=clip,
                    scores=np.asarray(result.scores),
                    matrix=np.asarray(result.matrix),
                    maps=maps.aggregate(result.maps, result.scores, clip.label),
                )
            )
        return explained

    return explain_clips


def is_due(config: Config, run: Run, step: int) -> bool:
    """Tell whether clips are explained after ``step``: every so many, and at the end."""
    every = config.explain_every
    return every > 0 and (step % every == 0 or step == run.total)


def _own_copy(array: Tensor) -> Array:
    """Return this process's copy of an array that every device has."""
    is_sharded = isinstance(array, jax.Array)
    return array.addressable_data(0) if is_sharded else jnp.asarray(array)
