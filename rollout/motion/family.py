"""The family of motion-diffusion models."""

from rollout.family import Family
from rollout.motion.settings import Lora, Model, Rollout

MOTION = Family("motion", {"model": Model, "lora": Lora, "rollout": Rollout})
