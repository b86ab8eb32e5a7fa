"""World models: a policy learns from trajectories that a learned model of the environment imagines.

`dreamerv3.py` is the algorithm, `config.py` its hyperparameters and presets. The model is made of
`rssm.py` (how latent states follow one another), `networks.py` (encoder, decoder and the layers of
all) and `distributions.py`; `world_model.py` joins them and says what they are trained on. In
`behaviour.py` the policy learns in imagination, and `policy.py` is what a run saves.
"""
