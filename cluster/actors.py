"""The three kinds of Ray actor. Each wraps one object of another room and adds nothing to its maths.

Each is built by `start`, since an error in a constructor reaches the driver as text and not as an exception.
"""

from pathlib import Path

import ray
import torch

from learner.evaluation import Examination, as_motions, examine
from learner.learner import Learner, ScoredGroup, SyncError, Update
from learner.settings import Config
from rewards.pair import load_reward_and_judge
from rewards.texts import Embedded
from rollout.adapter import Adapter
from rollout.motion.adapter_folder import save_adapter
from rollout.motion.policy import MotionDiffusionPolicy, MotionPolicySettings
from rollout.policy import Group, Request


def own_device(threads: int) -> str:
    """Pins the process to its threads and says where its model goes: the GPU that Ray gave it, else the CPU."""
    torch.set_num_threads(threads)
    return "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"


@ray.remote
class SamplerActor:
    """Samples groups. Holds no state but the adapter, which it must be given before it may sample."""

    def start(self, settings: MotionPolicySettings, threads: int) -> None:
        self.policy = MotionDiffusionPolicy(settings, own_device(threads))

    def load_adapter(self, adapter: Adapter) -> str:
        """Digest of the weights the policy holds afterwards, read back from its parameters."""
        return self.policy.load_adapter(adapter)

    def sample(self, request: Request, sha256: str) -> Group:
        """One group under the adapter `sha256`; refuses to sample under any other (a fresh actor holds none)."""
        if self.policy.loaded[1] != sha256:
            held = self.policy.loaded[1]
            raise SyncError(f"a sampler with adapter {held[:14]} was asked to sample under {sha256[:14]}")
        return self.policy.sample(request)


@ray.remote
class RewardActor:
    """Scores groups with the reward; for evaluation also with the judge, which never trains anything."""

    def start(self, config: Config, texts: Embedded, threads: int) -> None:
        kind, device = config.reward, own_device(threads)
        self.reward, self.judge = load_reward_and_judge(kind.type, kind.paths(), device, kind.foot_skate, texts)

    def score(self, group: Group) -> dict:
        """Every component of the reward, [G] each."""
        return self.reward(as_motions(group))

    def examine(self, group: Group) -> Examination:
        return examine(group, self.reward, self.judge)


@ray.remote
class LearnerActor:
    """Owns the trainable weights and the optimizer."""

    def start(self, config: Config, settings: MotionPolicySettings, threads: int) -> None:
        self.component = config.reward.component or "total"
        self.policy = MotionDiffusionPolicy(settings, own_device(threads))
        self.learner = Learner(self.policy, config.objective, config.optimizer)

    def adapter(self) -> Adapter:
        return self.learner.adapter

    def evaluation_adapter(self) -> Adapter:
        return self.learner.evaluation_adapter()

    def update(self, *groups_then_scores) -> Update:
        """One iteration's update from P groups followed by their P score dicts, in order."""
        half = len(groups_then_scores) // 2
        pairs = zip(groups_then_scores[:half], groups_then_scores[half:])
        return self.learner.update([ScoredGroup(group, scores[self.component]) for group, scores in pairs])

    def save_adapter(self, folder: Path, adapter: Adapter) -> None:
        """Writes `adapter` to `folder` in PEFT's format; the weights being trained are put back afterwards."""
        current = Adapter.pack(adapter.version, self.policy.adapter_state())
        self.policy.load_adapter(adapter)
        save_adapter(self.policy, folder)
        self.policy.load_adapter(current)
