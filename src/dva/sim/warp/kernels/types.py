# type: ignore  (Warp reads annotations as types of its own)
"""The types that the kernels are written in, and rotations."""

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import warp as wp

__all__ = ["kernel_types"]


@cache
def kernel_types(real: Any, part: str = "", balls: bool = False) -> SimpleNamespace:
    """Builds scalar, vector and array types, decorators and rotations for a floating point type.

    Args:
        real: `wp.float32` or `wp.float64`.
        part: of the kernels, which Warp compiles, and loads on first use, by itself.
        balls: whether the kernels of this part are for robots with ball joints. Those for others
            are compiled without a trace of them.
    """
    vec2 = wp.types.vector(2, real)
    vec3 = wp.types.vector(3, real)
    vec4 = wp.types.vector(4, real)
    mat33 = wp.types.matrix((3, 3), real)
    quat = wp.types.quaternion(real)
    part = f"{part}balls." if balls else part
    module = f"dva.sim.warp.kernels.{part}float{32 if real == wp.float32 else 64}"
    func = partial(wp.func, module=module)
    kernel = partial(wp.kernel, module=module)
    forward_kernel = partial(wp.kernel, module=module, enable_backward=False)

    @func
    def rotate(r: quat, v: vec3) -> vec3:
        # Exact also for quaternions that are unit only to round-off, when used on both sides.
        u = vec3(r[0], r[1], r[2])
        w = r[3]
        twice = real(2.0)
        return v * (twice * w * w - real(1.0)) + (wp.cross(u, v) * w + u * wp.dot(u, v)) * twice

    @func
    def rotate_back(r: quat, v: vec3) -> vec3:
        u = vec3(r[0], r[1], r[2])
        w = r[3]
        twice = real(2.0)
        return v * (twice * w * w - real(1.0)) + (u * wp.dot(u, v) - wp.cross(u, v) * w) * twice

    @func
    def rotation_vector(r: quat) -> vec3:
        # Axis times angle, at most half a turn, as MuJoCo's mju_quat2Vel.
        u = vec3(r[0], r[1], r[2])
        w = r[3]
        if w < real(0.0):
            u = -u
            w = -w
        square = wp.dot(u, u)
        ratio = square / (w * w + square)
        factor = real(0.0)
        if ratio > real(1e-8):
            sine = wp.sqrt(square)
            factor = real(2.0) * wp.atan2(sine, w) / sine
        else:
            factor = (real(2.0) - real(2.0 / 3.0) * square / (w * w)) / w
        return u * factor

    return SimpleNamespace(
        balls=balls,
        real=real,
        vec2=vec2,
        vec3=vec3,
        vec4=vec4,
        quat=quat,
        ints=wp.array(dtype=int),
        reals=wp.array(dtype=real),
        reals2=wp.array(dtype=real, ndim=2),
        reals3=wp.array(dtype=real, ndim=3),
        reals4=wp.array(dtype=real, ndim=4),
        vecs=wp.array(dtype=vec3),
        vecs3=wp.array(dtype=vec3, ndim=3),
        quats=wp.array(dtype=quat),
        quats3=wp.array(dtype=quat, ndim=3),
        mats=wp.array(dtype=mat33),
        mats3=wp.array(dtype=mat33, ndim=3),
        vec2s=wp.array(dtype=vec2),
        vec4s=wp.array(dtype=vec4),
        func=func,
        kernel=kernel,
        forward_kernel=forward_kernel,
        rotate=rotate,
        rotate_back=rotate_back,
        rotation_vector=rotation_vector,
    )
