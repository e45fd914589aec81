"""The directions of the arrows between the rooms, and what no file may do.

A room may use what stands beside it in `MAY_USE`, and nothing else. A family's rooms use those that all families share and never
the reverse: a family is found by name and imported on use.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("rollout", "rewards", "learner", "cluster")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
GROUND, ROLLOUT = {"rollout.io"}, {"rollout.io", "rollout"}
MOTION = {"rollout.motion", "rewards.motion"}
LANGUAGE = {"rollout.language", "rewards.language"}
SENTENCE = {"learner", "learner.config", "rewards"} | ROLLOUT
MAY_USE = {
    "rollout.io": set(),
    "rollout": GROUND,
    "rollout.motion": ROLLOUT,
    "rollout.language": ROLLOUT,
    "rewards": ROLLOUT,
    "rewards.motion": ROLLOUT | {"rewards", "rollout.motion"},
    "rewards.language": ROLLOUT | {"rewards", "rollout.language"},
    "rewards.inspect": ROLLOUT | MOTION | LANGUAGE | {"rewards"},
    "learner.config": ROLLOUT | {"rewards"},
    "learner": SENTENCE,
    "learner.watch": SENTENCE,
    "learner.run": SENTENCE | {"learner.watch"},
    "learner.evaluate": SENTENCE | {"learner.run"},
    "learner.evaluate.motion": SENTENCE | MOTION | {"learner.run", "learner.evaluate"},
    "learner.evaluate.language": SENTENCE | LANGUAGE | {"learner.run", "learner.watch", "learner.evaluate"},
    "learner.diagnose": SENTENCE | {"learner.run", "learner.watch", "rollout.motion"},
    "learner.report": SENTENCE | MOTION | LANGUAGE | {"learner.run", "learner.watch", "learner.diagnose"},
    "learner.pretrain": ROLLOUT | MOTION | LANGUAGE | {"learner.evaluate.motion"},
    "cluster": SENTENCE,
}
# Commands put the rooms together.
COMMANDS = {
    "learner.main": SENTENCE | {"learner.run", "learner.watch", "learner.report", "cluster"},
    "learner.evaluate.run": MAY_USE["learner.evaluate"] | {"cluster"},
    "learner.evaluate.motion.evaluation": MAY_USE["learner.evaluate.motion"] | {"cluster"},
    "learner.evaluate.language.evaluation": MAY_USE["learner.evaluate.language"] | {"cluster"},
    "rollout.sample": {"rollout.motion"},
    "rollout.export": {"rollout.motion"},
}
LOOP_LINES = 100
PLAIN_PICKLE = ROOT / "rewards" / "motion" / "plain_pickle.py"


def imports(tree):
    """Dotted names that a file imports, at the top or inside a function; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide which room they reach"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def room_of(name):
    """The room that a dotted name lies in; None outside the project."""
    parts = name.split(".")
    inner = [room for depth in (3, 2) if (room := ".".join(parts[:depth])) in MAY_USE]
    return inner[0] if inner else parts[0] if parts[0] in ROOMS else None


def forbidden(module, imported):
    """Whether `module` (such as learner.objective) may not import the dotted name `imported`."""
    room, target = room_of(module), room_of(imported)
    if imported.split(".")[0] == "ray":
        return room != "cluster"
    if imported in COMMANDS or imported.rpartition(".")[0] in COMMANDS:
        return not (target == room and module.endswith(".__main__"))  # what answers first, and imports the command once all is good
    return target is not None and target != room and target not in COMMANDS.get(module, MAY_USE[room])


def unsafe(tree):
    """Calls and imports that run code out of a file that is only meant to hold data."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            if any(name and name.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal") for name in names):
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if function == "torch.load" and given.get("weights_only") != "True":
                yield f"line {node.lineno}: torch.load without weights_only=True"
            if function in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
                yield f"line {node.lineno}: np.load that may unpickle"
            if function in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
                yield f"line {node.lineno}: {function} instead of yaml.safe_load"


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_rooms_are_found():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_imports_follow_the_arrows(path):
    module = module_of(path)
    against = [name for name in imports(ast.parse(path.read_text())) if forbidden(module, name)]
    assert against == [], f"{module} imports against the arrows"


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_file_of_data_can_run_code(path):
    found = list(unsafe(ast.parse(path.read_text())))
    if path == PLAIN_PICKLE:
        assert found == ["line 4: import pickle"]
    else:
        assert found == []


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_no_file_needs_what_only_linux_has(path):
    found = [f"line {node.lineno}: {node.value}" for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(("/proc", "/sys"))]  # fmt: skip
    assert [words for words in found if not (path.name == "machine.py" and words.endswith("/proc/cpuinfo"))] == []  # it can do without


def test_a_class_has_a_name_of_its_own():
    """Of the families one may call its own things as another does."""
    places = defaultdict(list)
    for path in FILES:
        family = re.search(r"\b(motion|language)/", str(path))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not (family and path.name == "settings.py"):  # where a class is called as its section
                places[node.name].append(family[1] if family else names([path])[0])
    shared = {place for found in places.values() for place in found if place.endswith(".py")}
    assert {name: found for name, found in places.items() if len(found) > len(set(found) - shared) and len(found) > 1} == {}


def test_the_one_unpickler_imports_nothing():
    """All that a pickle could run passes through `find_class`: here that does nothing but raise, and nothing else loads."""
    tree = ast.parse(PLAIN_PICKLE.read_text())
    (unpickler,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    (find_class,) = [node for node in unpickler.body if isinstance(node, ast.FunctionDef)]
    assert find_class.name == "find_class" and [type(node) for node in find_class.body] == [ast.Raise]
    loads = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) if "load" in ast.unparse(node.func)]
    assert loads == ["PlainUnpickler(io.BytesIO(path.read_bytes())).load"]


def test_the_loop_stays_readable():
    (loop,) = [node for node in ast.parse((ROOT / "learner" / "main.py").read_text()).body if getattr(node, "name", "") == "train"]
    assert loop.end_lineno - loop.lineno < LOOP_LINES


KNOW_NO_FAMILY = [path for path in FILES if room_of(module_of(path)) in ("learner", "learner.run", "learner.watch", "cluster")]


@pytest.mark.parametrize("path", KNOW_NO_FAMILY, ids=names(KNOW_NO_FAMILY))
def test_what_every_family_shares_names_none(path):
    """In names, attributes and texts that the program reads; comments and docstrings may give examples."""
    tree = ast.parse(path.read_text())
    documents = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list) and node.body and isinstance(node.body[0], ast.Expr)}
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents and " " not in node.value:
            words.add(node.value)
        words |= {value for field in ("id", "attr", "name", "arg", "module") if isinstance(value := getattr(node, field, None), str)}
    assert not [word for word in words if re.search(r"motion|mdm|humanml|language|qwen|tmr|t2m", word, re.IGNORECASE)]


@pytest.mark.parametrize(
    "module, source, against",
    [
        ("rollout.policy", "import ray", True),
        ("learner.main", "from ray.util import metrics", True),
        ("learner.objective", "def f():\n    import ray", True),
        ("rewards.motion.tmr", "import importlib\nimportlib.import_module('ray')", True),
        ("cluster.actors", "import ray", False),
        ("rollout.policy", "from learner.config.settings import Config", True),
        ("rollout.policy", "import rewards.motion.tmr", True),
        ("rollout.policy", "from rollout.io.errors import InputError", False),
        ("rollout.io.files", "from rollout.policy import Group", True),
        ("rollout.record", "from rollout.motion.skeleton import HUMANML3D", True),
        ("rollout.record", "from rollout import motion", True),
        ("rollout.motion.diffusion_policy", "from rollout.policy import Group", False),
        ("rewards.scoring", "from rewards.motion.tmr import TMRReward", True),
        ("rewards.motion.tmr", "from learner import objective", True),
        ("rewards.motion.tmr", "from cluster import actors", True),
        ("rewards.motion.tmr", "from rollout.motion import features", False),
        ("cluster.actors", "from learner.main import run", True),
        ("cluster.actors", "from learner import main", True),
        ("cluster.actors", "from learner.objective import action_loss", False),
        ("cluster.actors", "from learner.run.plan import Plan", True),
        ("cluster.actors", "from rollout.motion.diffusion_policy import MotionDiffusionPolicy", True),
        ("learner.objective", "from cluster.pool import Pool", True),
        ("learner.objective", "from rollout.motion.diffusion_policy import MotionDiffusionPolicy", True),
        ("learner.learner", "from learner.run.report import Report", True),
        ("learner.config.parse", "from learner.run.folder import RunFolder", True),
        ("learner.watch.watcher", "from learner.run.report import Report", True),
        ("learner.run.report", "from learner.watch.watcher import Watcher", False),
        ("learner.run.report", "from learner.report.write import write_report", True),
        ("learner.pretrain.__main__", "import cluster", True),
        ("learner.main", "from cluster.training_pool import TrainingPool", False),
        ("learner.main", "from rollout.motion.diffusion_policy import MotionDiffusionPolicy", True),
        ("learner.evaluate.run", "from cluster.pool import Pool", False),
        ("learner.evaluate.motion.plan", "from cluster.pool import Pool", True),
        ("cluster.actors", "from learner.evaluate.run import run", True),
        ("learner.evaluate.motion.plan", "from learner.evaluate.run import run", True),
        ("learner.evaluate.motion.plan", "from learner.evaluate.models import named", False),
        ("learner.evaluate.motion.plan", "from rewards.language.format import Format", True),
        ("learner.evaluate.report", "from learner.evaluate.motion.measures import METRICS", True),
        ("learner.evaluate.report", "from learner.evaluate.language import plan", True),
        ("learner.evaluate.__main__", "from learner.evaluate.run import run", False),
        ("rollout.motion.mdm", "import rayleigh", False),
    ],
)
def test_what_counts_as_against_the_arrows(module, source, against):
    assert any(forbidden(module, name) for name in imports(ast.parse(source))) is against


@pytest.mark.parametrize(
    "source, found",
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, map_location='cpu', weights_only=True)", False),
        ("import pickle", True),
        ("from pickle import loads", True),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("yaml.load(text, Loader=L)", True),
        ("yaml.safe_load(text)", False),
    ],
)
def test_what_counts_as_running_code(source, found):
    assert bool(list(unsafe(ast.parse(source)))) is found
