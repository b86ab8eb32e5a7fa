# type: ignore  (Warp reads annotations as types of its own)
"""The force of one contact, whatever touches whatever."""

from types import SimpleNamespace

import warp as wp

__all__ = ["contact_laws"]


def contact_laws(t: SimpleNamespace) -> SimpleNamespace:
    """Builds the functions `push` and `twist`; laws as in `dva.sim.features.ContactLaw`."""
    real, vec3, vec4, func = t.real, t.vec3, t.vec4, t.func

    @func
    def normal_force(n: vec3, u: vec3, depth: real, material: vec4, ramp: real) -> real:
        damping = material[1] * wp.min(depth / ramp, real(1.0))
        return wp.max(material[0] * depth - damping * wp.dot(n, u), real(0.0))

    @func
    def push(n: vec3, u: vec3, depth: real, material: vec4, ramp: real) -> vec3:
        # Of velocity u against the other body, whose normal n points here.
        normal = normal_force(n, u, depth, material, ramp)
        slip = u - n * wp.dot(n, u)
        square = wp.dot(slip, slip)
        friction = vec3()
        if square > real(0.0):
            speed = wp.sqrt(square)
            friction = slip * (-wp.min(material[2] * speed, material[3] * normal) / speed)
        elif material[3] * normal > real(0.0):
            # At rest below the cap: no force, but its slope is that of slow slip.
            friction = slip * (-material[2])
        return friction + n * normal

    @func
    def twist(
        n: vec3, u: vec3, w: vec3, depth: real, material: vec4, ramp: real, spin: vec4
    ) -> vec3:
        # Torque against turning about the normal and rolling, at relative angular velocity w.
        normal = normal_force(n, u, depth, material, ramp)
        about = wp.dot(n, w)
        drilling = wp.clamp(spin[2] * about, -spin[0] * normal, spin[0] * normal)
        torque = n * (-drilling)
        roll = w - n * about
        square = wp.dot(roll, roll)
        if square > real(0.0):
            speed = wp.sqrt(square)
            torque = torque - roll * (wp.min(spin[3] * speed, spin[1] * normal) / speed)
        elif spin[1] * normal > real(0.0):
            torque = torque - roll * spin[3]
        return torque

    return SimpleNamespace(push=push, twist=twist)
