"""The differentiable camera."""
