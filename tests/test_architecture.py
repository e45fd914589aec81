"""The directions of the arrows between the rooms, and what no file may do.

`learner.{main,evaluate} -> cluster -> {learner's maths, rewards, rollout}`; `learner, rewards -> rollout`; `rollout -> nothing`.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("rollout", "rewards", "learner", "cluster")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
COMMANDS = ("learner.main", "learner.evaluate.__main__")  # they build the cluster; everything else of the learner does without
MAIN_LINES = 200
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


def forbidden(module, imported):
    """Whether `module` (such as learner.objective) may not import the dotted name `imported`."""
    room, target = module.split(".")[0], imported.split(".")[0]
    if target == "ray":
        return room != "cluster"
    if target not in ROOMS or target == room:
        return False
    if room == "cluster":
        return any(imported == command or imported.startswith(f"{command}.") for command in COMMANDS)
    if room == "learner":
        return target == "cluster" and module not in COMMANDS
    return room == "rollout" or target != "rollout"


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
    assert found == []


def test_the_one_unpickler_imports_nothing():
    """All that a pickle could run passes through `find_class`: here that does nothing but raise, and nothing else loads."""
    tree = ast.parse(PLAIN_PICKLE.read_text())
    (unpickler,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    (find_class,) = [node for node in unpickler.body if isinstance(node, ast.FunctionDef)]
    assert find_class.name == "find_class" and [type(node) for node in find_class.body] == [ast.Raise]
    loads = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) if "load" in ast.unparse(node.func)]
    assert loads == ["PlainUnpickler(io.BytesIO(path.read_bytes())).load"]


def test_the_loop_stays_readable():
    main = ROOT / "learner" / "main.py"
    assert len(main.read_text().splitlines()) <= MAIN_LINES


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
        ("rewards.motion.tmr", "from learner import objective", True),
        ("rewards.motion.tmr", "from cluster import actors", True),
        ("rewards.motion.tmr", "from rollout.motion import features", False),
        ("cluster.actors", "from learner.main import run", True),
        ("cluster.actors", "from learner import main", True),
        ("cluster.actors", "from learner.objective import grpo_loss", False),
        ("learner.objective", "from cluster.pool import Pool", True),
        ("learner.pretrain.__main__", "import cluster", True),
        ("learner.main", "from cluster.pool import Pool", False),
        ("learner.evaluate.__main__", "from cluster.pool import Pool", False),
        ("learner.evaluate.plan", "from cluster.pool import Pool", True),
        ("cluster.actors", "from learner.evaluate.__main__ import run", True),
        ("cluster.actors", "from learner.watch.examination import examine", False),
        ("learner.watch.examination", "from rewards.motion.metrics import fid", False),
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
