"""Deadlines short enough for a test, and only until the first one has passed: on a busy machine an actor takes long to start."""


def impatient(waiting, deadline_s: float, tell=lambda line: None) -> None:
    """waiting: samplers or a learner, whose next loss is reported to `tell` and ends their impatience."""
    patient, waiting.deadline_s = waiting.deadline_s, deadline_s

    def told(line: str) -> None:
        waiting.deadline_s = patient
        tell(line)

    waiting._tell = told
