"""What every metric of a run means, in a sentence, and under which heading the page draws it."""

import re
from typing import NamedTuple


class Meaning(NamedTuple):
    """`part`: the heading it stands under. `unit`: "" for what has none."""

    part: str
    unit: str
    sentence: str


REWARD, HELDOUT, POLICY, BODY, ANSWERS, TIME = "Reward", "Held-out prompts", "Policy and update", "Physics, held out", "Answers", "Time"
SECONDS = "s"

# By the name of metrics.jsonl; `*` stands for the name of a component or a type of problem. The first that fits is meant.
METRICS: dict[str, Meaning] = {
    "mean_reward": Meaning(REWARD, "", "Mean total reward of the iteration's samples: what training maximises."),
    "std_reward": Meaning(REWARD, "", "Standard deviation of the rewards over all samples; near 0 there is nothing left to compare."),
    "min_reward": Meaning(REWARD, "", "The worst sample's reward."),
    "max_reward": Meaning(REWARD, "", "The best sample's reward."),
    "component_*_mean": Meaning(REWARD, "", "Mean of one part of the reward, as it is before weight and normalisation."),
    "component_*_std": Meaning(REWARD, "", "Standard deviation of one part of the reward; a part without spread teaches nothing."),
    "component_*_failed": Meaning(REWARD, "samples", "Samples that this part of the reward could not score."),
    "failed_samples": Meaning(REWARD, "samples", "Samples without a reward; they count in nothing."),
    "dropped_groups": Meaning(REWARD, "groups", "Groups of which fewer than two samples were scored, so that nothing could be compared."),
    "broken_samples": Meaning(REWARD, "samples", "Samples with a number that is not finite; each fails alone."),
    "zero_std_fraction": Meaning(REWARD, "share", "Share of the groups whose samples all have one reward; they teach nothing."),
    "heldout_reward": Meaning(HELDOUT, "", "Mean reward on prompts that are never trained on, always under the same noise."),
    "heldout_judge": Meaning(HELDOUT, "", "What an evaluator that trains nothing says of the held-out samples; more is better."),
    "heldout_fid": Meaning(HELDOUT, "", "Frechet distance of the held-out samples to real data in the judge's eyes; less is better."),
    "heldout_judge_joints": Meaning(HELDOUT, "", "What an evaluator of joints alone, which trains nothing, says of the held-out samples."),
    "heldout_fid_unit": Meaning(HELDOUT, "", "The same of embeddings of length one: of directions alone, as a cosine compares."),
    "heldout_diversity": Meaning(HELDOUT, "", "Mean distance of two held-out samples in the judge's eyes; falls when all become alike."),
    "heldout_parted": Meaning(HELDOUT, "evaluations", "How many evaluations in a row found the reward risen and the judge fallen."),
    "heldout_component_*": Meaning(HELDOUT, "", "Mean of one part of the reward on the held-out prompts."),
    "heldout_foot_skate": Meaning(BODY, "m/s", "How fast a foot slides while it stands on the floor; real motion has little."),
    "heldout_ground_penetration": Meaning(BODY, "m", "How deep the lowest joint is below the floor."),
    "heldout_floating": Meaning(BODY, "m", "How high the lowest joint is above the floor."),
    "heldout_jerk": Meaning(BODY, "m/s³", "How abruptly joints change their acceleration: shaking."),
    "heldout_smoothness": Meaning(BODY, "m/s²", "Mean acceleration of the joints; less is smoother, and slow motion has little."),
    "heldout_root_drift": Meaning(BODY, "m/s", "How fast the body moves while both feet stand: gliding."),
    "heldout_feature_consistency": Meaning(BODY, "std", "How far the features are from those of the skeleton they describe."),
    "heldout_accuracy_official": Meaning(ANSWERS, "share", "Held-out answers that are right by the official reward's formula."),
    "heldout_accuracy_intentbench": Meaning(ANSWERS, "share", "Held-out answers that are right by IntentBench's formula."),
    "heldout_accuracy": Meaning(ANSWERS, "share", "Held-out answers that are right."),
    "heldout_accuracy_*": Meaning(ANSWERS, "share", "Held-out answers that are right, of this type of problem."),
    "heldout_format_rate": Meaning(ANSWERS, "share", "Held-out answers in the form that was asked for."),
    "heldout_people_focus": Meaning(ANSWERS, "", "How much held-out answers speak of people."),
    "heldout_mean_iou": Meaning(ANSWERS, "", "Overlap of the mask with the true one, held out (intersection over union)."),
    "heldout_baseline_iou": Meaning(ANSWERS, "", "The same overlap without the points of the answer."),
    "heldout_iou_gain": Meaning(ANSWERS, "", "By how much the answer's points improve the overlap."),
    "heldout_parsed_rate": Meaning(ANSWERS, "share", "Held-out answers whose points could be read."),
    "mean_answer_length": Meaning(ANSWERS, "tokens", "Mean length of a training answer."),
    "truncated_fraction": Meaning(ANSWERS, "share", "Training answers that were cut off at the longest length."),
    "max_decode_gap": Meaning(POLICY, "nats", "Largest difference between log-probs while decoding and in the scoring pass."),
    "kl": Meaning(POLICY, "nats", "Divergence from the base model, an action; it grows as the policy moves away."),
    "mean_ratio": Meaning(POLICY, "", "Mean probability ratio of the trained policy to the one that sampled; 1 before the first update."),
    "clip_fraction": Meaning(POLICY, "share", "Share of the ratios that are clipped and so have no gradient."),
    "prediction_norm": Meaning(POLICY, "", "Size of the model's predictions of clean samples by the base model's; what grows has found a way round its loss."),
    "grad_norm": Meaning(POLICY, "", "Norm of the gradient before clipping."),
    "log_prob_gap": Meaning(POLICY, "nats", "Largest difference between a sampled log-prob and the recomputed one; 0: equal to the bit."),
    "log_prob_tolerance": Meaning(POLICY, "nats", "What log_prob_gap may be on this device in this precision; absent where it must be 0."),
    "loss": Meaning(POLICY, "", "What the optimizer minimises: policy loss and KL loss."),
    "policy_loss": Meaning(POLICY, "", "The part of the loss that follows the advantages; near 0 on policy, only its gradient teaches."),
    "kl_loss": Meaning(POLICY, "", "The part of the loss that holds the policy near the base model."),
    "mean_advantage": Meaning(POLICY, "", "Mean advantage; about 0, since samples are compared inside their group."),
    "std_advantage": Meaning(POLICY, "", "Spread of the advantages; about 1 unless groups were left out."),
    "mean_log_prob_current": Meaning(POLICY, "nats", "Mean log-prob of the trained actions under the policy that is updated."),
    "mean_log_prob_old": Meaning(POLICY, "nats", "The same under the policy that sampled them."),
    "mean_log_prob_ref": Meaning(POLICY, "nats", "The same under the base model."),
    "mean_log_ratio": Meaning(POLICY, "nats", "Mean log of the probability ratio."),
    "max_abs_log_ratio": Meaning(POLICY, "nats", "Largest log-ratio of the iteration, either way."),
    "learning_rate": Meaning(POLICY, "", "Step size in force."),
    "clip_epsilon": Meaning(POLICY, "", "Clip of the ratio in force."),
    "adapter_version": Meaning(POLICY, "", "Version of the adapter that the update began with."),
    "staleness": Meaning(POLICY, "versions", "How many adapter versions the oldest group lagged behind."),
    "length_entropy": Meaning(POLICY, "nats", "Variety of the samples' lengths; 0 when all have one."),
    "seconds_rollout": Meaning(TIME, SECONDS, "Waiting for samples."),
    "seconds_reward": Meaning(TIME, SECONDS, "Waiting for scores after the last sample was in."),
    "seconds_update": Meaning(TIME, SECONDS, "Recompute, gradient and optimizer step."),
    "seconds_publish": Meaning(TIME, SECONDS, "Bringing the new adapter to the samplers, and reading it back."),
    "seconds_evaluate": Meaning(TIME, SECONDS, "Held-out evaluation in between."),
}  # fmt: skip
OTHER = Meaning("Other", "", "A number of this run's own.")
_PATTERNS = [(re.compile(re.escape(name).replace(r"\*", "(.+)")), meaning) for name, meaning in METRICS.items()]


def meaning_of(name: str) -> Meaning:
    """`OTHER` for a metric that the table does not know."""
    return next((meaning for pattern, meaning in _PATTERNS if pattern.fullmatch(name)), OTHER)
