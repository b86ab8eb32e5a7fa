"""Our simulator: Warp kernels, the order of their launches, and the memory they work on."""
