"""`python -m benchmarks.gpu` in its smallest form: a tiny model, one round, two samples."""

from benchmarks import gpu
from benchmarks.speed.models import Size
from rollout.motion.settings import Model
from tests.tiny import FRAMES


def test_every_precision_is_measured_beside_the_plain_loop(mdm_folder, tmp_path):
    size = Size(Model(path=str(mdm_folder), frames=FRAMES), 2, 3, 16)
    peaks = {precision: gpu.peak("cpu", precision, 1) for precision in gpu.PRECISIONS["cpu"]}
    found = gpu.measured(size, "cpu", (2,), 1, peaks, False)
    assert list(found["curve"]) == list(found["gaps"]) == ["fp32", "bf16"] and found["plain"][2]["iteration"] > 0
    for precision, curve in found["curve"].items():
        assert all(value > 0 for value in curve[2].values()) and curve[2]["sampler / peak"] < 1
        steps = found["gaps"][precision]
        assert len(steps) == 3 and all(step["own"] == 0 and (step["fp32"] > 0) == (precision == "bf16") for step in steps)
    lines = gpu.rows("tiny", found)
    assert len(lines) == 3 and {line.count("|") for line in lines} == {12}
    gpu.picture(tmp_path / "gpu.png", {"tiny": found})
    assert (tmp_path / "gpu.png").stat().st_size > 1000
