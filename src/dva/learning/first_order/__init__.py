"""First-order methods: the gradient of the return through a differentiable simulator.

`actor_critic.py` is what they share, `dva.py` and `shac.py` differ in how the gradient reaches the
policy. Their configurations and presets begin with the shared ones in `config.py`.
"""
