"""Painted pictures against slow, obvious ones: many rays a pixel, each asked what it meets first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.scenes import patches as p
from tripod_lite.scenes import solids as s

SIZE, FINE = 32, 16
EYE, TARGET, FOCAL = (0.4, -5.0, 1.9), (0.1, 0.0, 0.6), 1.8
WHITE = jnp.ones(3)
LIGHT = s.Light(p.unit(jnp.array([-0.5, -0.4, 1.0])), jnp.array(1.0), jnp.array(0.0))  # everything is evenly bright
SQUARE = jnp.array([(-9.0, -4.0, 0.0), (9.0, -4.0, 0.0), (9.0, 9.0, 0.0), (-9.0, 9.0, 0.0)])
FLOOR = s.Plane(jnp.array([0.0, 0.0, 1.0]), jnp.array(0.0))
CAMERA = p.look_at(jnp.array(EYE), jnp.array(TARGET), FOCAL)


def rays(size=SIZE * FINE):
    """Directions through size² points of the picture, the first row on top."""
    at = (np.arange(size) + 0.5) * 2 / size - 1
    u, v = np.meshgrid(at, -at)
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.asarray(CAMERA.axes)


def shares(hit):
    """Means over squares of FINE × FINE points."""
    return hit.reshape(SIZE, FINE, SIZE, FINE).mean(axis=(1, 3))


def painted(build):
    """The picture of `build(camera)`, compiled whole."""
    return np.asarray(jax.jit(lambda camera: p.paint(p.join(build(camera)), SIZE))(CAMERA))


def slab(directions, eye, center, half, axes):
    """Which rays pass through a box."""
    origin, along = (eye - center) @ axes.T, directions @ axes.T
    with np.errstate(divide="ignore"):
        near, far = (-half - origin) / along, (half - origin) / along
    enter, leave = np.minimum(near, far).max(-1), np.maximum(near, far).min(-1)
    return (enter < leave) & (leave > 0)


def floor_points(directions):
    t = -EYE[2] / directions[..., 2]
    return np.asarray(EYE) + directions * t[..., None], t > 0


def errors(build, hit):
    """How far the painted share of each pixel is off: exact along straight edges, approximate at corners."""
    assert hit.mean() > 0.002  # there is something to be seen
    return np.abs(painted(build)[0] - shares(hit.astype(float)))


BOXES = [
    ((0.0, 0.0, 0.5), (0.7, 0.4, 0.5), 0.0),
    ((0.6, -0.5, 1.2), (0.3, 0.3, 0.9), 0.7),
    ((-1.0, 1.0, 0.2), (0.2, 1.5, 0.2), 2.0),
]


@pytest.mark.parametrize(("center", "half", "yaw"), BOXES)
def test_a_box_covers_what_its_rays_meet(center, half, yaw):
    axes = s.turned(yaw)
    error = errors(
        lambda camera: s.box(camera, LIGHT, jnp.array(center), jnp.array(half), WHITE, axes),
        slab(rays(), np.array(EYE), np.array(center), np.array(half), np.asarray(axes)),
    )
    assert error.mean() < 0.005
    assert error.max() < 0.35


@pytest.mark.parametrize(("center", "half", "yaw"), BOXES)
def test_the_faces_of_a_box_leave_no_seam(center, half, yaw):
    """Inside its outline a white box is white, also along its edges."""
    axes = s.turned(yaw)
    image = painted(lambda camera: s.box(camera, LIGHT, jnp.array(center), jnp.array(half), WHITE, axes))[0]
    inside = shares(slab(rays(), np.array(EYE), np.array(center), np.array(half), np.asarray(axes)).astype(float)) == 1
    assert inside.sum() > 10
    assert np.quantile(image[inside], 0.02) > 0.98
    assert image[inside].min() > 0.8  # where three edges meet in one pixel


@pytest.mark.parametrize("center", [(0.0, 0.0, 0.8), (1.3, 0.5, 1.5)])
@pytest.mark.parametrize("radius", [0.15, 0.8])
def test_a_sphere_covers_what_its_rays_meet(center, radius):
    directions, seen = rays(), np.array(center) - np.array(EYE)
    along = directions @ seen / (directions**2).sum(-1)
    hit = ((along[..., None] * directions - seen) ** 2).sum(-1) < radius**2
    error = errors(lambda camera: s.sphere(camera, LIGHT, jnp.array(center), jnp.array(radius), WHITE), hit)
    assert error.mean() < 0.005
    assert error.max() < 0.35


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.3, -1.0, 0.2), (1.0, -0.3, 0.0)])
def test_a_disc_covers_what_its_rays_meet(normal):
    center, radius, directions = np.array([0.2, 0.3, 0.9]), 0.8, rays()
    normal = np.array(normal) / np.linalg.norm(normal)
    t = normal @ (center - EYE) / (directions @ normal)
    hit = (np.linalg.norm(np.array(EYE) + directions * t[..., None] - center, axis=-1) < radius) & (t > 0)
    where = jnp.array(center), jnp.array(normal), jnp.array(radius)
    error = errors(lambda camera: s.disc(camera, *where, WHITE, jnp.array(1.0)), hit)
    assert error.mean() < 0.005
    assert error.max() < 0.35


def test_what_is_seen_edge_on_is_not_seen():
    """A disc and a face in a plane through the eye: no streak is left of them."""
    level = jnp.array([0.0, 0.0, 1.0])
    corners = jnp.array([[-1, 0, EYE[2]], [1, 0, EYE[2]], [1, 1, EYE[2]], [-1, 1, EYE[2]]])
    middle, one = jnp.array([0.0, 0.0, EYE[2]]), jnp.array(1.0)
    assert painted(lambda camera: s.disc(camera, middle, level, 0.8 * one, WHITE, one)).max() < 1e-3
    assert painted(lambda camera: s.face(camera, corners, WHITE, one)).max() < 1e-3


def test_corners_may_lie_behind_the_camera():
    """A floor from behind the eye to the horizon fills the picture below it."""
    corners = jnp.array([(-50.0, -60.0, 0.0), (50.0, -60.0, 0.0), (50.0, 90.0, 0.0), (-50.0, 90.0, 0.0)])
    points, ahead = floor_points(rays())
    hit = ahead & (np.abs(points[..., 0]) < 50) & (points[..., 1] < 90)
    error = errors(lambda camera: s.face(camera, corners, WHITE, jnp.array(1.0)), hit)
    assert error.mean() < 0.005
    assert error.max() < 0.35


@pytest.mark.parametrize("sides", [4, 6])
@pytest.mark.parametrize("top", [0.0, 0.6, 1.0])
def test_a_prism_covers_what_its_rays_meet(sides, top):
    base, axis = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.5, -0.2, 1.1])
    across = p.unit(jnp.cross(axis, jnp.array([0.2, 1.0, 0.0])))
    faces = s.prism(sides, base, axis, across, jnp.array(0.7), top)
    assert faces.shape == (sides + (2 if top else 1) * (sides // 2 - 1), 4, 3)
    corners, directions = np.asarray(faces), rays()
    center = corners.reshape(-1, 3).mean(0)
    enter, leave = np.full(directions.shape[:2], -np.inf), np.full(directions.shape[:2], np.inf)
    for a, b, c, _ in corners:  # a convex solid is where all its faces look away from its middle
        normal = np.cross(b - a, c - a)
        normal = normal * np.sign(normal @ (a - center))
        t, outward = normal @ (a - EYE) / (directions @ normal), directions @ normal > 0
        enter, leave = np.where(outward, enter, np.maximum(enter, t)), np.where(outward, np.minimum(leave, t), leave)
    error = errors(lambda camera: s.polyhedron(camera, LIGHT, faces, WHITE), enter < leave)
    assert error.mean() < 0.005
    assert error.max() < 0.35


def test_a_frustum_covers_about_what_its_rays_meet():
    """Its outlines run beside the axis, as from afar."""
    start, end, radii = np.array([-0.3, 0.2, 0.2]), np.array([0.4, 0.0, 1.6]), (0.5, 0.3)
    ends = [jnp.asarray(value, jnp.float32) for value in (start, end, *radii)]
    image = painted(lambda camera: s.frustum(camera, LIGHT, *ends, WHITE))[0]
    directions = rays(128)
    t = np.linspace(3.5, 6.5, 200)
    points = np.array(EYE) + directions[:, :, None] * t[:, None]
    axis, length = (end - start) / np.linalg.norm(end - start), np.linalg.norm(end - start)
    along = (points - start) @ axis
    away = np.linalg.norm(points - start - along[..., None] * axis, axis=-1)
    hit = ((along > 0) & (along < length) & (away < radii[0] + (radii[1] - radii[0]) * along / length)).any(-1)
    exact = hit.reshape(32, 4, 32, 4).mean(axis=(1, 3))
    assert np.abs(image - exact).mean() < 0.008


@pytest.mark.parametrize(("center", "half", "yaw"), BOXES)
def test_the_shadow_of_a_box_lies_where_rays_to_the_light_are_blocked(center, half, yaw):
    axes = s.turned(yaw)

    def build(camera):
        floor = s.face(camera, SQUARE, WHITE, jnp.array(1.0))
        shadow = s.box_shadow(camera, LIGHT, FLOOR, jnp.array(center), jnp.array(half), axes)
        return p.join(floor, shadow, p.receive(s.outline(camera, SQUARE), 1.0))

    points, ahead = floor_points(rays())
    on = ahead & (points[..., 1] > -4) & (points[..., 1] < 9) & (np.abs(points[..., 0]) < 9)
    origin = points.reshape(-1, 3)
    toward = np.broadcast_to(np.asarray(LIGHT.toward), origin.shape)
    blocked = slab(toward, origin, np.array(center), np.array(half), np.asarray(axes)).reshape(on.shape)
    error = errors(build, on & ~blocked)
    assert error.mean() < 0.006
    assert error.max() < 0.6


def test_the_shadow_of_a_sphere_lies_where_rays_to_the_light_are_blocked():
    center, radius = np.array([0.3, 0.2, 1.0]), 0.5

    def build(camera):
        floor = s.face(camera, SQUARE, WHITE, jnp.array(1.0))
        shadow = s.sphere_shadow(camera, LIGHT, FLOOR, jnp.array(center), jnp.array(radius))
        return p.join(floor, shadow, p.receive(s.outline(camera, SQUARE), 1.0))

    points, ahead = floor_points(rays())
    on = ahead & (points[..., 1] > -4) & (points[..., 1] < 9) & (np.abs(points[..., 0]) < 9)
    toward = np.asarray(LIGHT.toward)
    past = points - center
    blocked = (past**2).sum(-1) - (past @ toward) ** 2 < radius**2
    error = errors(build, on & ~blocked)
    assert error.mean() < 0.006
    assert error.max() < 0.6


def test_shadows_do_not_add_up_beyond_darkness():
    """Two boxes in one place shade as one does, and after they are received they are gone."""
    box = jnp.array([0.0, 0.0, 0.5]), jnp.array([0.6, 0.6, 0.5])

    def build(shadows, receivers):
        def on(camera):
            floor, received = s.face(camera, SQUARE, WHITE, jnp.array(1.0)), p.receive(s.outline(camera, SQUARE), 0.5)
            shadow = s.box_shadow(camera, LIGHT, FLOOR, *box)
            return p.join(floor, *[shadow] * shadows, *[received] * receivers)

        return painted(on)

    once, twice, again = build(1, 1), build(2, 1), build(1, 2)
    assert once.min() == pytest.approx(0.0, abs=1e-6)  # the sky
    inside = once[0] < 0.51
    np.testing.assert_allclose(twice[0][inside], once[0][inside], atol=1e-6)
    np.testing.assert_allclose(again, once, atol=1e-6)


def test_what_is_painted_later_is_in_front():
    red, blue = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 1.0])

    def far(camera):
        return s.sphere(camera, LIGHT, jnp.array([0.0, 1.0, 0.8]), jnp.array(0.6), red)

    def near(camera):
        return s.sphere(camera, LIGHT, jnp.array([0.0, -1.0, 0.8]), jnp.array(0.3), blue)

    ordered = painted(lambda camera: p.join(far(camera), near(camera)))
    six, four = jnp.array(6.0), jnp.array(4.0)
    first = painted(lambda camera: p.by_distance((six, far(camera)), (four, near(camera))))
    second = painted(lambda camera: p.by_distance((four, near(camera)), (six, far(camera))))
    np.testing.assert_allclose(first, ordered, atol=1e-6)
    np.testing.assert_allclose(second, ordered, atol=1e-6)
    y, x = np.unravel_index(ordered[2].argmax(), ordered[2].shape)
    assert ordered[2, y, x] > 0.99 and ordered[0, y, x] < 0.01


def test_a_sphere_is_lit_by_lamberts_law():
    toward = p.unit(jnp.array([-0.6, -1.0, 0.7]))
    light = s.Light(toward, jnp.array(0.2), jnp.array(0.8))
    center, radius, directions = np.array([0.1, 0.0, 0.6]), 0.9, rays(SIZE)
    image = painted(lambda camera: s.sphere(camera, light, jnp.array(center), jnp.array(radius), WHITE))[0]
    seen = center - np.array(EYE)
    a, b, c = (directions**2).sum(-1), directions @ seen, seen @ seen - radius**2
    inside = b**2 - a * c > 0.3 * a * radius**2  # not near the rim
    t = (b - np.sqrt(np.maximum(b**2 - a * c, 0))) / a
    normal = (np.array(EYE) + t[..., None] * directions - center) / radius
    lambert = 0.2 + 0.8 * np.maximum(normal @ np.asarray(toward), 0)
    assert inside.sum() > 40
    error = np.abs(image - lambert)[inside]  # the formula is that of a distant eye
    assert error.mean() < 0.05
    assert error.max() < 0.12


def test_pictures_are_differentiable():
    """In where things are, as finite differences say."""
    with jax.enable_x64(True):
        eye, target = jnp.array(EYE, jnp.float64), jnp.array(TARGET, jnp.float64)
        weights = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8, 8)))
        light = s.Light(jnp.array([-0.3, -0.6, 0.8], jnp.float64), jnp.array(0.3), jnp.array(0.7))

        def loss(x):
            camera = p.look_at(eye, target, FOCAL)
            center = jnp.stack([x, 0.1 + 0 * x, 0.7 + 0 * x])
            half, color = jnp.array([0.5, 0.4, 0.6], jnp.float64), jnp.array([0.9, 0.4, 0.2], jnp.float64)
            box = s.box(camera, light, center, half, color)
            ball = s.sphere(camera, light, center + 0.5, 0.3 + 0 * x, color)
            return jnp.sum(weights * p.paint(p.join(box, ball), 8))

        both, at, step = jax.jit(jax.value_and_grad(loss)), jnp.array(0.137, jnp.float64), 1e-6
        slope = (both(at + step)[0] - both(at - step)[0]) / (2 * step)
        assert float(both(at)[1]) == pytest.approx(float(slope), rel=1e-4)
