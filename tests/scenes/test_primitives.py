"""Closed forms against slow, obvious versions: points along a ray, and many samples a pixel."""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tripod_lite.scenes import primitives as p

pytestmark = pytest.mark.usefixtures("x64")

SETTINGS = settings(max_examples=40, deadline=None)
lengths = st.floats(0.3, 2.0)
angles = st.floats(-1.2, 1.2)
places = st.floats(-0.9, 0.9)


def ray_through(u, v, azimuth):
    return p.orbit_ray(jnp.array(u), jnp.array(v), azimuth=jnp.array(azimuth), distance=7.0, height=2.0, focal=2.2)


def points(ray, nearest=1.5, farthest=5.0, n=35_001):
    """Points along a ray, (n,) each; the solids of these tests lie between these t."""
    t = np.linspace(nearest, farthest, n)
    origin, direction = np.array(ray[:3]), np.array(ray[3:])
    return t, *(origin[:, None] + direction[:, None] * t[None, :])


def test_camera_looks_at_the_axis_and_keeps_verticals_upright():
    ray = ray_through(0.0, 0.0, 0.5)
    t = 7.0 / 2.2
    np.testing.assert_allclose([ray.ox + t * ray.dx, ray.oy + t * ray.dy, ray.oz + t * ray.dz], [0, 0, 2], atol=1e-12)
    above = ray_through(0.0, 0.7, 0.5)
    assert (above.dx, above.dy, above.dz) == (ray.dx, ray.dy, 0.7)


def test_camera_at_azimuth_zero_sees_x_to_the_right_and_y_ahead():
    ray = ray_through(0.3, 0.1, 0.0)
    np.testing.assert_allclose(np.array(ray), [0, -7, 2, 0.3, 2.2, 0.1], atol=1e-12)


@pytest.mark.parametrize(("edge", "exact"), [(0.3, 0.8), (-0.5, 0.0), (0.0, 0.5), (0.5, 1.0), (9.0, 1.0)])
@pytest.mark.parametrize("slope", [0.01, 1.0, 50.0])
def test_coverage_of_an_upright_edge_is_the_exact_area(edge, exact, slope):
    pixel = 0.25  # the pixel around u = 1; the edge is `edge` pixels to the right of its center
    share = p.coverage(lambda u, v: slope * (1.0 + edge * pixel - u), jnp.array(1.0), jnp.array(0.0), pixel)
    assert float(share) == pytest.approx(exact, abs=1e-3)


@given(places, places, st.floats(0.2, 3.0))
@SETTINGS
def test_coverage_of_a_slanted_edge_is_close_to_the_area(offset, angle, pixel):
    direction = np.array([math.cos(3.2 * angle), math.sin(3.2 * angle)])
    at = (np.arange(200) + 0.5) / 200 - 0.5
    area = np.mean(direction[0] * at[:, None] + direction[1] * at[None, :] + offset > 0)
    share = p.coverage(
        lambda u, v: direction[0] * u + direction[1] * v + offset * pixel, jnp.array(0.0), jnp.array(0.0), pixel
    )
    assert abs(float(share) - area) < 0.13  # the largest error, 1/8, is at 45 degrees


def test_coverage_is_differentiable_across_the_edge():
    slope = jax.grad(lambda shift: p.coverage(lambda u, v: u - shift, jnp.array(0.01), jnp.array(0.0), 0.1))(0.0)
    assert float(slope) == pytest.approx(-10.0, rel=1e-3)  # a shift by a pixel, 0.1, changes the share by 1


@pytest.mark.parametrize("hue", np.linspace(0, 1, 31))
def test_hues_are_those_of_hsv(hue):
    np.testing.assert_allclose(p.hue_to_rgb(jnp.array(hue)), colorsys.hsv_to_rgb(hue, 1, 1), atol=1e-12)


@given(places, places, angles, lengths)
@SETTINGS
def test_span_in_a_cylinder_is_where_points_are_inside(u, v, azimuth, radius):
    ray = ray_through(u, v, azimuth)
    span = p.through_cylinder(ray, jnp.array(radius))
    check_span(span, ray, lambda x, y: x**2 + y**2 < radius**2)


@given(places, places, angles, lengths)
@SETTINGS
def test_span_in_a_square_is_where_points_are_inside(u, v, azimuth, half):
    ray = ray_through(u, v, azimuth)
    span = p.through_square(ray, jnp.array(half))
    check_span(span, ray, lambda x, y: (abs(x) < half) & (abs(y) < half))


def check_span(span, ray, contains):
    assume(abs(float(span.inside)) > 0.02)  # a grazing ray is inside for less than a step
    t, x, y, _ = points(ray)
    inside = contains(x, y)
    assert inside.any() == (float(span.inside) > 0)
    if inside.any():
        np.testing.assert_allclose([span.enter, span.leave], [t[inside].min(), t[inside].max()], atol=3e-4)


@pytest.mark.parametrize("azimuth", [0.0, -0.0, math.pi / 2, math.pi])
def test_span_in_a_square_is_finite_for_rays_along_its_sides(azimuth):
    def enter(half):
        return p.through_square(ray_through(0.0, -0.3, azimuth), half).enter

    value, slope = jax.value_and_grad(enter)(jnp.array(1.0))
    assert float(value) == pytest.approx(6.0 / 2.2, abs=1e-5)
    assert np.isfinite(slope)


@given(places, places, angles, lengths, st.floats(0.5, 2.0), st.floats(0.0, 2.0))
@SETTINGS
def test_inside_capsule_is_the_squared_clearance_of_the_nearest_point(u, v, azimuth, radius, low, length):
    ray = ray_through(u, v, azimuth)
    _, x, y, z = points(ray, 0.0, 8.0)
    distance = x**2 + y**2 + (z - np.clip(z, low, low + length)) ** 2
    inside = p.inside_capsule(ray, jnp.array(radius), jnp.array(low), jnp.array(low + length))
    assert float(inside) == pytest.approx(radius**2 - distance.min(), abs=1e-3)


@given(places, places, angles, lengths, st.floats(0.5, 2.0), st.floats(0.0, 2.0))
@SETTINGS
def test_capsule_normal_points_from_the_axis_to_the_first_point_inside(u, v, azimuth, radius, low, length):
    ray = ray_through(u, v, azimuth)
    capsule = jnp.array(radius), jnp.array(low), jnp.array(low + length)
    assume(float(p.inside_capsule(ray, *capsule)) > 0.05)
    _, x, y, z = points(ray, 1.0, 5.0)
    center = np.clip(z, low, low + length)
    first = np.argmax(x**2 + y**2 + (z - center) ** 2 < radius**2)
    normal = np.array([x[first], y[first], (z - center)[first]]) / radius
    np.testing.assert_allclose(p.capsule_normal(ray, *capsule), normal, atol=5e-3)


def test_capsule_normal_is_finite_where_a_ray_grazes_or_misses():
    def total(radius):
        low = jnp.array(1.0)
        return sum(p.capsule_normal(ray_through(0.0, 0.9, 0.0), radius, low, low))

    for radius in (1e-3, 0.5, 1.5):
        value, slope = jax.value_and_grad(total)(jnp.array(radius))
        assert np.isfinite(value) and np.isfinite(slope)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-1, 1), st.floats(-1, 1), lengths, lengths)
@SETTINGS
def test_shadows_fall_where_a_climbing_ray_meets_the_solid(x, y, sun_x, sun_y, size, height):
    assume(abs(sun_x) + abs(sun_y) > 0.05)
    sun, z = (sun_x, sun_y), np.linspace(0, height, 4001)
    at_x, at_y = x + sun_x * z, y + sun_y * z
    cylinder = p.cylinder_shadow(jnp.array(x), jnp.array(y), sun, jnp.array(size), jnp.array(height))
    square = p.square_shadow(jnp.array(x), jnp.array(y), sun, jnp.array(size), jnp.array(height))
    assert float(cylinder) == pytest.approx(size**2 - (at_x**2 + at_y**2).min(), abs=1e-2)
    if abs(float(square)) > 1e-3:
        assert (float(square) > 0) == ((abs(at_x) < size) & (abs(at_y) < size)).any()


@pytest.mark.parametrize(
    ("v", "between", "top"),
    [(-1.0, 0.0, 0.0), (-0.45, 1.0, 0.0), (-0.27, 1.0, 1.0), (-0.05, 0.0, 1.0)],
)
def test_a_capped_column_has_a_side_and_a_top(v, between, top):
    """Radius 1, height 1.2, eye height 2, the axis 7 away: below it, on its side, on its top, above it."""
    ray = ray_through(0.0, v, 0.0)
    shares = p.capped(
        ray, lambda u: p.through_cylinder(ray._replace(dx=u), jnp.array(1.0)), jnp.array(0.0), jnp.array(1.2), 0.01
    )
    np.testing.assert_allclose(shares, [between, top], atol=1e-9)
