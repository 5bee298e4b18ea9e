"""Pictures of jointed bodies inside jit: capsules and balls over a chequered floor."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_SIDE = 128  # pixels
_FLOOR = 3.0  # metres of floor drawn before and behind the body
_COLOURS = (
    *((150, 155, 165), (235, 140, 60), (80, 150, 220), (240, 195, 80)),
    *((95, 190, 130), (220, 95, 95), (165, 125, 215)),
)  # what is fixed to the world, then bodies in turn
_SKY, _LIGHT, _DARK, _EDGE = (198, 214, 232), (116, 130, 140), (98, 112, 122), (60, 66, 76)
_SPHERE, _CAPSULE, _CYLINDER = 2, 3, 5  # MuJoCo's numbers of shapes


class Camera(NamedTuple):
    """A parallel projection, looking along the y-axis and down."""

    elevation: float  # degrees: 0 from the side, 90 from above
    width: float  # metres that the picture shows
    height: float  # metres above the ground of what is in the middle
    follow: bool = True  # keep the first body in the middle


class Scene(NamedTuple):
    """Shapes: segments with round ends in the frames of their bodies."""

    body: np.ndarray  # [G] int, -1 for the world
    start: np.ndarray  # [G, 3]
    end: np.ndarray  # [G, 3]
    radius: np.ndarray  # [G]

    @classmethod
    def ball(cls, radius: float) -> "Scene":
        """One ball around the origin of the first body."""
        return cls(np.zeros(1, int), np.zeros((1, 3)), np.zeros((1, 3)), np.array([radius]))

    @classmethod
    def of(cls, system: Any) -> "Scene":
        """The balls, capsules and cylinders of a Brax system; other shapes are not drawn."""
        kind, size = np.asarray(system.geom_type), np.asarray(system.geom_size)
        drawn = np.isin(kind, (_SPHERE, _CAPSULE, _CYLINDER))
        half = np.where(kind == _SPHERE, 0, size[:, 1])[:, None]
        w, x, y, z = np.asarray(system.geom_quat).T
        axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
        centre, reach = np.asarray(system.geom_pos), half * axis  # the axis is the local z
        shapes = (np.asarray(system.geom_bodyid) - 1, centre - reach, centre + reach, size[:, 0])
        return cls(*(x[drawn] for x in shapes))


def draw(scene: Scene, camera: Camera, position: jax.Array, rotation: jax.Array) -> jax.Array:
    """[128, 128, 3] uint8.

    Args:
      scene: what there is.
      camera: how it is seen.
      position: [L, 3] metres, of the bodies.
      rotation: [L, 4] their quaternions, real part first.
    """
    start, end = _placed(scene, position, rotation)  # [G, 3]
    angle = np.deg2rad(camera.elevation)
    sine, cosine = float(np.sin(angle)), float(np.cos(angle))
    middle = position[0] if camera.follow else jnp.zeros(3)
    steps = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    u = middle[0] + camera.width * steps[None, :]
    v = middle[1] * sine + camera.height * cosine - camera.width * steps[:, None]
    y = v / max(sine, 1e-3)  # where the line of sight meets the floor
    across, reach, far = jnp.broadcast_arrays(u, v, y)  # [H, W]
    radius = jnp.asarray(scene.radius, jnp.float32)[:, None, None]

    seen = [jnp.stack([p[:, 0], p[:, 1] * sine + p[:, 2] * cosine], axis=1) for p in (start, end)]
    along, away = _distance(across, reach, *seen)  # [G, H, W]
    near = [(p[:, 2] * sine - p[:, 1] * cosine)[:, None, None] for p in (start, end)]
    bulge = jnp.sqrt(jnp.maximum(radius**2 - away**2, 0))
    depth = jnp.where(away < radius, near[0] + along * (near[1] - near[0]) + bulge, -jnp.inf)
    front = jnp.argmax(depth, axis=0)[None]  # [1, H, W]
    shade = 0.55 + 0.45 * jnp.take_along_axis(bulge / radius, front, axis=0)[0]
    hit = jnp.take_along_axis(depth, front, axis=0)[0] > -jnp.inf
    colours = jnp.asarray(_COLOURS, jnp.float32)[_colour(scene.body)][front[0]]

    shadow = _distance(across, far, start[:, :2], end[:, :2])[1] < radius
    ground = _ground(across, far, far - middle[1]) * (1 - 0.3 * shadow.any(axis=0))[..., None]
    return jnp.where(hit[..., None], colours * shade[..., None], ground).astype(jnp.uint8)


def _placed(scene: Scene, position: jax.Array, rotation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both ends of all segments in the world, [G, 3]; the last row of the frames is the world."""
    position = jnp.concatenate([position, jnp.zeros((1, 3))])[scene.body]
    rotation = jnp.concatenate([rotation, jnp.array([[1.0, 0, 0, 0]])])[scene.body]
    real, axis = rotation[:, :1], rotation[:, 1:]

    def place(point: np.ndarray) -> jax.Array:
        cross = jnp.cross(axis, point)
        return position + point + 2 * (real * cross + jnp.cross(axis, cross))

    return place(scene.start), place(scene.end)


def _distance(
    u: jax.Array, v: jax.Array, start: jax.Array, end: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """From points [H, W] to segments [G, 2]: the share along each and the distance, [G, H, W]."""
    (a, b), (c, d) = (x.T[..., None, None] for x in (start, end))
    square = jnp.maximum((c - a) ** 2 + (d - b) ** 2, 1e-9)
    along = jnp.clip(((u - a) * (c - a) + (v - b) * (d - b)) / square, 0, 1)
    return along, jnp.hypot(u - a - along * (c - a), v - b - along * (d - b))


def _ground(x: jax.Array, y: jax.Array, ahead: jax.Array) -> jax.Array:
    """[H, W, 3]: squares of half a metre, sky behind the floor and its edge before it."""
    square = (jnp.floor(2 * x) + jnp.floor(2 * y)) % 2 == 0
    colours = jnp.array([_SKY, _LIGHT, _DARK, _EDGE], jnp.float32)
    inside = jnp.where(square, 1, 2)
    return colours[jnp.where(ahead > _FLOOR, 0, jnp.where(ahead < -_FLOOR, 3, inside))]


def _colour(body: np.ndarray) -> np.ndarray:
    """[G] index into the colours."""
    return np.where(body < 0, 0, 1 + body % (len(_COLOURS) - 1))
