"""The learner's actor, and the states from which another one goes on when it dies or hangs."""

import time
from collections.abc import Callable

import ray
from ray.actor import ActorHandle

from cluster.calls import LOST, LOST_OBJECT, cause_of, epitaph, get
from learner.learner import State
from rollout.io.errors import RunFailed

ATTEMPTS = 3  # at one call


class RemoteLearner:
    """Calls of a `LearnerActor`. After every update the driver holds the whole state of every seed's learner: a call that was lost
    with its actor is made again, to a fresh actor that has loaded them, with the same result."""

    def __init__(self, start: Callable[[], tuple[ActorHandle, ray.ObjectRef]], deadline_s: float, turn: Callable, tell: Callable[[str], None]):
        """start: a new actor, and its states to come; deadline_s: for any one answer; turn: what goes on while the driver waits
        (`Samplers.turn`); tell: is given a line about a loss."""
        self._start, self.deadline_s, self._turn, self._tell = start, deadline_s, turn, tell
        self.actor, self._started = start()
        self._whereabouts, self._since = None, None
        self.states: dict[int, State] = {}  # by seed, of the last finished call

    def await_start(self) -> None:
        self.states = self.ask(lambda actor: self._started)

    def restore(self, seed: int, state: State) -> None:
        """The learner of that seed goes on from `state`."""
        self.states[seed] = self.ask(lambda actor: actor.load.remote(seed, state))

    def ask(self, send: Callable[[ActorHandle], ray.ObjectRef], remake: Callable[[], None] | None = None):
        """What the actor answers to `send(actor)`. When what it was sent is lost and not the actor, `remake()` makes it again.
        RunFailed when it dies over it again and again."""
        lost = None
        for attempt in range(ATTEMPTS):
            try:
                if isinstance(lost, LOST_OBJECT) and remake:
                    remake()
                elif attempt:
                    self._replace()
                if self._whereabouts is None:
                    self._whereabouts = self._answer(self.actor.whereabouts.remote())
                return self._answer(send(self.actor))
            except LOST as death:
                lost, cause = death, cause_of(death, self._whereabouts)
            except TimeoutError:
                lost, cause = None, f"gave no answer within cluster.learner_deadline, {self.deadline_s:g} s" + epitaph(self._whereabouts)
            if attempt + 1 < ATTEMPTS:
                made_again = isinstance(lost, LOST_OBJECT) and remake
                self._tell("groups went with their node: they are sampled again" if made_again else f"the learner {cause}: another one goes on from its state")
        raise RunFailed(f"the learner keeps dying, {ATTEMPTS} times over the same call: the last one {cause}")

    def update(self, seed: int, send: Callable[[ActorHandle], ray.ObjectRef], remake: Callable[[], None] | None = None):
        """As `ask`, for a call that answers with a result and the state it leaves."""
        result, self.states[seed] = self.ask(send, remake)
        return result

    def _answer(self, ref: ray.ObjectRef):
        self._since = time.monotonic()
        deadline = self._since + self.deadline_s
        while not ray.wait([ref], timeout=0)[0]:
            if time.monotonic() > deadline:
                raise TimeoutError
            self._turn([ref], deadline)
        self._since = None
        return get(ref)

    def at_work(self) -> list[tuple[str, str, float]]:
        """As `Samplers.at_work`."""
        return [("learner", "step", self._since)] if self._since else []

    def _replace(self) -> None:
        ray.kill(self.actor)
        self._whereabouts = None
        self.actor, self._started = self._start()
        self._answer(self._started)
        for seed, state in self.states.items():
            self._answer(self.actor.load.remote(seed, state))
