"""How a run ended, and why: from its summary, and from what its log last said."""

import re
from dataclasses import dataclass

from learner.diagnose.ratio import Cause
from learner.diagnose.read import Record
from learner.watch.rules import RULES

# What the reason of a failed run, or its log, says; the first that fits explains it. A name of a rule stands for its cause.
KNOWN: tuple[tuple[str, str | Cause], ...] = (
    (r"no space left|disk (is )?full|ENOSPC|disk quota", Cause(
        "disk", "a disk is full: that of the run folder, of Ray's /tmp, or of the MLflow store",
        "df -h says which; make room, fewer or no rollouts kept, then resume",
    )),
    (r"out of memory|OutOfMemory|\bOOM\b|MemoryError|memory monitor", Cause(
        "memory", "a process ran out of memory, its own or the node's, which Ray counts whole",
        "fewer samplers on a node, a smaller rollout.group_size, or optimizer.use_checkpointing; --dry_run predicts what is needed",
    )),
    (r"keep(s)? dying|crash.?loop|restarts? .*used up|restart budget", Cause(
        "crash_loop", "an actor dies again and again, so it is not chance: the same piece of work, or its machine, kills it",
        "read its last lines above and in Ray's log folder (/tmp/ray/session_latest/logs), and start it alone",
    )),
    (r"recomputed log-probs differ", "log_prob_gap"),
    (r"sampled under adapter version|holds weights .* after loading|acknowledged", Cause(
        "weights", "a sampler worked with other weights than the learner published",
        "resume, which publishes anew; if it comes back, look at the network and at what else writes into the adapter's memory",
    )),
    (r"gradient norm is|\bnan\b|not finite|non_finite|\binf\b", "non_finite"),
    (r"reward failed on every sample|could not be scored", "failed_samples"),
    (r"cluster\.samplers: fewer than", Cause(
        "nodes", "the cluster kept less room than the samplers that the run needs",
        "resume once nodes are back, or with a smaller first number: --cluster.samplers 1..8",
    )),
    (r"did not start within|deadline|no answer|hung|timed out", Cause(
        "hung", "an actor did not start or answer in time: a stopped process, a slow file system, or too few resources",
        "ray status and top while it waits; a longer deadline if it is only slow",
    )),
    (r"tracking\.uri|mlflow", Cause(
        "tracking", "the MLflow store could not be written", "see that tracking.uri can be reached and written",
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """`sentence`: how it ended. `reason`: the line that says why, if any does. `cause`: None when it needs none or none is known."""

    sentence: str
    reason: str | None = None
    cause: Cause | None = None


def ending(record: Record) -> Ending:
    """From the summary's status and reason, else from the log's last lines."""
    status = record.summary.get("status")
    done = record.summary.get("iterations", record.iterations)
    after = f"after {done} of {record.config.iterations} iterations" if record.config else f"after {done} iterations"
    if record.path.is_file():
        return Ending(f"not known: a file of metrics alone, of {len(record.rows)} iterations")
    if status == "finished":
        return Ending(f"it finished {after}")
    told = [str(record.summary[name]) for name in ("reason", "error") if record.summary.get(name)]
    reason, cause = next(
        ((line, cause) for line in [*told, *record.log[::-1]] for pattern, cause in KNOWN if re.search(pattern, line, re.IGNORECASE)),
        (told[0] if told else None, None),
    )
    if isinstance(cause, str):
        (rule,) = [rule for rule in RULES if rule.name == cause]
        cause = Cause(rule.name, rule.cause, rule.remedy)
    if status is None:
        killed = Cause(
            "killed", "the process was killed outright: SIGKILL, the system's out-of-memory killer, or a lost machine",
            "dmesg or the job's scheduler says which; unless it is still running, resume it",
        )  # fmt: skip
        sentence = f"it has no summary.json, so it was killed {after} and could not say so, or it is still running"
        return Ending(sentence, reason, cause or killed)
    if status in ("killed", "stopped") and not told:
        return Ending(f"it was stopped by a signal (SIGTERM, Ctrl-C, pre-emption or `ray job stop`) {after}, and closed in order")
    return Ending(f"it {'failed' if status == 'failed' else f'ended as {status}'} {after}", reason, cause)
