"""Kernels that move the camera before the renderer runs, and unpack the pictures after it."""

# pyright: reportIndexIssue=false, reportGeneralTypeIssues=false, reportAssignmentType=false
# pyright: reportCallIssue=false, reportArgumentType=false
# (kernels are compiled by Warp and follow its typing rules, not Python's)

import warp as wp

__all__ = ["follow_mount", "unpack_depth", "unpack_rgb", "unpack_segmentation"]


@wp.kernel(enable_backward=False)
def follow_mount(
    body_position: wp.array2d[wp.vec3],
    mount: int,
    follow: wp.vec3,
    eye: wp.vec3,
    period: float,
    camera: int,
    floor: int,
    wall: int,
    camera_position: wp.array2d[wp.vec3],
    geom_position: wp.array2d[wp.vec3],
):
    """Moves the camera with the mount's position, and floor and wall along with the camera.

    Args:
        body_position: (N, bodies) world positions [m].
        mount: body that the camera follows.
        follow: 1 along the world axes that it follows, else 0.
        eye: position of the camera relative to the followed point [m].
        period: length after which the floor's texture repeats [m].
        camera, floor, wall: indices in the two outputs; wall is -1 where there is none.
        camera_position: (N, cameras), written [m].
        geom_position: (N, geoms), written [m].
    """
    env = wp.tid()
    position = eye + wp.cw_mul(follow, body_position[env, mount])
    camera_position[env, camera] = position
    # The renderer's bounds of an infinite plane end 1000 m from the plane's origin. Moving the
    # origins along with the camera keeps the planes infinite; whole periods of the texture keep the
    # checks where they are in the world.
    x = period * wp.floor(position[0] / period + 0.5)
    y = period * wp.floor(position[1] / period + 0.5)
    geom_position[env, floor] = wp.vec3(x, y, geom_position[env, floor][2])
    if wall >= 0:
        at = geom_position[env, wall]
        geom_position[env, wall] = wp.vec3(x, at[1], at[2])


@wp.kernel(enable_backward=False)
def unpack_rgb(packed: wp.array2d[wp.uint32], image: wp.array3d[wp.uint8]):
    """Splits the renderer's packed pixels (N, H W) into channels (N, 3, H W)."""
    env, pixel = wp.tid()
    value = packed[env, pixel]  # 0xAARRGGBB
    image[env, 0, pixel] = wp.uint8((value >> wp.uint32(16)) & wp.uint32(255))
    image[env, 1, pixel] = wp.uint8((value >> wp.uint32(8)) & wp.uint32(255))
    image[env, 2, pixel] = wp.uint8(value & wp.uint32(255))


@wp.kernel(enable_backward=False)
def unpack_depth(depth: wp.array2d[float], far: float, image: wp.array2d[float]):
    """Copies depths (N, H W) [m], with `far` where the ray hit nothing."""
    env, pixel = wp.tid()
    value = depth[env, pixel]  # 0 where the ray hit nothing
    image[env, pixel] = wp.where(value > 0.0, value, far)


@wp.kernel(enable_backward=False)
def unpack_segmentation(
    hit: wp.array2d[wp.vec2i], geom_body: wp.array[int], image: wp.array2d[wp.int32]
):
    """Turns the geoms that rays hit (N, H W) into their bodies; -1 where a ray hit nothing."""
    env, pixel = wp.tid()
    geom = hit[env, pixel][0]  # -1 where the ray hit nothing
    if geom >= 0:
        image[env, pixel] = geom_body[geom]
    else:
        image[env, pixel] = -1
