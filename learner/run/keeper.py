"""What a run goes on from after it was killed: learner, report and health together, after every so many iterations."""

from learner.config.parse import write_config
from learner.config.resume import require_work_left
from learner.learner import State, part
from learner.run.checkpoint import Checkpoint, Checkpoints
from learner.run.folder import RunFolder
from learner.run.plan import Plan
from learner.run.report import Report
from learner.run.standing import require_same, standing_of


class Keeper:
    """The checkpoints of one run. Only the driver writes them, so no storage is shared but the one they lie in."""

    def __init__(self, plan: Plan, folder: RunFolder):
        """Raises InputError for a run that is to go on and cannot, or for a place that has checkpoints of another run. One that is
        gone on with by its name, and was killed before its first checkpoint, begins anew."""
        config = plan.config
        self.plan, self.folder = plan, folder
        self.checkpoints = Checkpoints(config.checkpoint.path or folder.checkpoints, config.checkpoint.keep)
        self.found: Checkpoint | None = None  # what the run goes on from
        self._unsaved: Checkpoint | None = None
        self._good: int | None = None  # iterations after which health last found nothing to act on
        self._standing = standing_of(plan)
        if not config.resume:
            self.checkpoints.require_none()
            return
        self.found = self.checkpoints.latest()
        if config.run_name and not self.found:
            folder.rewind(0)
            return
        require_work_left(folder.path, self.found and self.found.iterations, config.iterations)
        require_same(self.found.facts["standing"], self._standing)
        self._good = self.found.facts["good"]

    def begin(self, report: Report) -> State | None:
        """Leaves of an earlier process what it finished and gives its report back; returns the learner's state then, None for
        a run that begins."""
        write_config(self.plan.config, self.folder.config)
        if self.found is None:
            return None
        facts, arrays = self.found.facts, self.found.arrays
        report.resume(self.folder.rewind(self.found.iterations), part(arrays, "report"), facts["report"])
        return State(part(arrays, "learner"), facts["learner"])

    def require_device(self, device: str) -> None:
        """Raises InputError when the run that goes on was begun on another kind of device than the learner's, now `device`."""
        if self.found:
            require_same({"device": [self.found.facts["learner"]["device"], ""]}, {"device": [device, ""]})

    @property
    def tracked(self) -> str | None:
        """The MLflow run that goes on."""
        return self.found and self.found.facts["mlflow"]

    @property
    def first(self) -> int:
        """The iteration that comes next."""
        return self.found.iterations if self.found else 0

    def finished(self, iterations: int, learner: State, report: Report) -> None:
        """After so many iterations: saved now if it is time, else by `save` when the run is interrupted."""
        arrays, facts = report.watcher.state()
        kept = {f"learner/{name}": value for name, value in learner.arrays.items()} | {f"report/{name}": value for name, value in arrays.items()}
        good = iterations if report.watcher.healthy else self._good
        told = {"learner": learner.facts, "report": facts, "mlflow": report.tracker.run_id, "standing": self._standing, "good": good}
        self._unsaved = Checkpoint(iterations, kept, told)
        if iterations % self.plan.config.checkpoint.every == 0 or iterations == self.plan.config.iterations:
            self.save()

    def save(self) -> bool:
        """Writes what was finished last, unless it is written already. Returns whether there is anything to go on from."""
        if self._unsaved is not None:
            self.checkpoints.save(self._unsaved, spare=self._unsaved.facts["good"])
            self._good, self._unsaved = self._unsaved.facts["good"], None
        return bool(self.checkpoints.saved())

    def roll_back(self) -> State:
        """The learner as it was saved when health last found nothing to act on. What was saved after that goes: a run that is
        resumed goes on from there."""
        checkpoint = self.checkpoints.load(self._good)
        self.checkpoints.save(checkpoint)
        return State(part(checkpoint.arrays, "learner"), checkpoint.facts["learner"])
