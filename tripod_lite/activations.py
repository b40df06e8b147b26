"""GELU, with derivatives in closed form.

The curvature penalty needs two derivatives of every activation, and its gradient a third. Automatic differentiation
builds them as long expressions; these cost one tanh and a few products each.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SLOPE = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def _inner(x: Array) -> tuple[Array, Array, Array, Array]:
    """For u = √(2/π) (x + 0.044715 x³): T = tanh u, its slope in u, s = 1 - T², and the derivatives u' and u''."""
    tanh = jnp.tanh(SLOPE * (x + CUBIC * x * x * x))
    return tanh, 1 - tanh * tanh, SLOPE * (1 + 3 * CUBIC * x * x), 6 * SLOPE * CUBIC * x


@jax.custom_jvp
def gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """GELU(x) = x (1 + tanh u)/2 with u = √(2/π) (x + 0.044715 x³), elementwise, the function of `jax.nn.gelu`.

    Source: Hendrycks and Gimpel, *Gaussian error linear units* (2016).
    """
    return 0.5 * x * (1 + _inner(x)[0])


@jax.custom_jvp
def _first(x: Array) -> Array:
    """GELU' = (1 + T)/2 + x s u'/2."""
    tanh, s, du, _ = _inner(x)
    return 0.5 * (1 + tanh + x * s * du)


@jax.custom_jvp
def _second(x: Array) -> Array:
    """GELU'' = s u' + x s w/2 with w = u'' - 2 T u'²."""
    tanh, s, du, ddu = _inner(x)
    return s * (du + 0.5 * x * (ddu - 2 * tanh * du * du))


def _third(x: Array) -> Array:
    """The third derivative, 3 s w/2 + x s (w' - 2 T u' w)/2 with w' = u''' - 2 s u'³ - 4 T u' u''."""
    tanh, s, du, ddu = _inner(x)
    w = ddu - 2 * tanh * du * du
    dw = 6 * SLOPE * CUBIC - 2 * s * du * du * du - 4 * tanh * du * ddu
    return s * (1.5 * w + 0.5 * x * (dw - 2 * tanh * du * w))


for _function, _derivative in ((gelu, _first), (_first, _second), (_second, _third)):
    _function.defjvps(lambda tangent, _, x, derivative=_derivative: derivative(x) * tangent)
