"""The settings that an evaluation of any family has; each family's own stand in its `settings.py`, around these."""

from learner.config.settings import DEFAULT_FAMILY
from rollout.io.settings import option

FAMILY = option(DEFAULT_FAMILY, "kind of generative model; it brings the protocol, and its settings: --help beside it shows them")
ADAPTER = option((), "adapter/ folder of a run, as DIR or NAME=DIR; given again, another row of the table")
OUT = option(None, "folder for the results, new or empty; null = runs/<UTC time>-evaluation-seed<seed>")
