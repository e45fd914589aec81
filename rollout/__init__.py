"""What a policy is and how it makes groups.

Importing it ends a command whose working folder holds a file or folder by the name of one of our packages: that would be
imported in the package's place, by the driver or by an actor.
"""

import os
import sys
from importlib.machinery import PathFinder

_PROJECT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
for _room in ("rollout", "rewards", "learner", "cluster"):
    _found = PathFinder.find_spec(_room)  # None: found by another finder, that of an editable installation
    _places = [*(_found.submodule_search_locations or [_found.origin])] if _found else []
    if _places and os.path.realpath(_places[0]) != os.path.join(_PROJECT, _room):
        print(f"error: {_places[0]} has the name of a package of this project and hides it; give it another", file=sys.stderr)
        raise SystemExit(2)
