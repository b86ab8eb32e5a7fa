"""First-order methods: the gradient of the return through a differentiable simulator."""
