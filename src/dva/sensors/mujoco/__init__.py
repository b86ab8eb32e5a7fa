"""The renderer of MuJoCo Warp, for meshes and textures."""
