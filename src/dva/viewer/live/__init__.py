"""The live viewer: a robot in 3-D in the browser, and what its policy sees and does.

Enters: a run or a task. Leaves: the address of a page. `session` is what happens, without a
browser: environment, policy, controls. `geometry` makes meshes of a robot and poses them; `scene`
and `page` show a session with viser, an optional package that they alone import; `viewer` lets time
pass. A session is touched by one thread only, which also obeys what pages ask for.
"""
