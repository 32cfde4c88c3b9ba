"""Explanations by a device that rounds the operands of matrix products, emulated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcam
from benchmarks import precision
from rgcam.models import classifiers
from rgcam.models.cut import PRECISION
from tests.conftest import draw_variables

TF32, BFLOAT16 = precision.FORMATS["TF32"], precision.FORMATS["bfloat16"]
BOUND = 1e-6  # of beta, as a part of the largest: float32 alone is left


@functools.cache
def model(head):
    arch = {
        "kind": "lrcn",
        "backbone": "small",
        "head": head,
        "width": 32,
        "dropout": 0.0,
        "cell": "lstm",
        "hidden": 16,
    }
    module = classifiers.build(arch, 4)
    frames = jax.random.normal(jax.random.key(1), (6, 16, 16, 3))
    return module, draw_variables(module, frames), frames


@functools.cache
def beta_of(head):
    """Return beta by the CPU, in float32 at any precision."""
    module, variables, frames = model(head)
    return np.asarray(rgcam.explain(module, variables, frames, 3).beta)


def error_of_beta(head, asked, bits):
    module, variables, frames = model(head)

    def explain(variables, frames):
        return rgcam.explain(module, variables, frames, 3, precision=asked).beta

    expected = beta_of(head)
    beta = precision.rounded(explain, bits)(variables, frames)
    return np.abs(np.asarray(beta) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("head", ["gap", "fc"])
def test_explanations_are_float32_where_the_device_rounds_to_tf32(head):
    assert error_of_beta(head, PRECISION, TF32) < BOUND
    default = error_of_beta(head, "default", TF32)
    assert 1e-4 < default < error_of_beta(head, "default", BFLOAT16)


def test_operands_are_rounded_unless_the_highest_precision_is_asked_for():
    x = np.full((1, 1), 1 + 2**-9, np.float32)  # TF32 holds it, bfloat16 does not
    product = lambda asked: lambda x: jnp.dot(x, x, precision=asked)
    exact = (1 + 2**-9) ** 2
    for asked, bits, expected in [
        (None, None, exact),
        ("default", TF32, exact),
        ("default", BFLOAT16, 1),
        ("highest", BFLOAT16, exact),
    ]:
        result = precision.rounded(product(asked), bits)(x)
        np.testing.assert_allclose(result, [[expected]], rtol=1e-7)


def test_a_row_for_each_format_and_part():
    rows = precision.measure(
        rgcam.load_model("stickman-lrcn"), np.zeros((4, 64, 64, 3), np.uint8), "gradcam"
    )
    assert [(row["format"], row["part"]) for row in rows] == [
        (format_, part) for format_ in precision.FORMATS for part in precision.PARTS
    ]
    by_part = {row["part"]: row for row in rows if row["format"] == "bfloat16"}
    assert 0 < by_part["above"]["beta"] < 0.1 and by_part["features"]["scores"] > 0
    assert "bfloat16" in precision.table(rows)
