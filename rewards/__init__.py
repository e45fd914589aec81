import runpy

runpy.run_path(f"{__path__[0]}/../rollout/__init__.py")  # what hides a room is told; by place, since it may hide that one
