"""The rollout record: what is written is read, and a file is whole or absent."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rollout.io.errors import InputError
from rollout.motion.record import COLUMNS, read_rollout
from rollout.record import RECOMPUTED, kept_samples, schema, write_rollout


def rows(count: int = 3) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "iteration": 4,
            "group": i // 2,
            "sample": i % 2,
            "prompt": "a person walks",
            "seed": f"7,4,{i}",
            "length": 20 + i,
            "adapter_version": 3,
            "adapter_sha256": "ab" * 32,
            "advantage": 0.5 - i,
            "reward": 0.25 * i,
            "components": {"tmr": 0.25 * i, "total": 0.25 * i},
            "log_probs": rng.normal(size=5).astype(np.float32),
            "timesteps": np.array([979, 700, 50, 3, 2], dtype=np.int64),
            "motion": rng.normal(size=(20 + i, 263)).astype(np.float32),
        }
        for i in range(count)
    ]


def test_rows_come_back_as_written(tmp_path):
    write_rollout(tmp_path / "r.parquet", rows(), COLUMNS)
    found = read_rollout(tmp_path / "r.parquet")
    assert len(found) == 3
    for row, back in zip(rows(), found):
        assert back.keys() == row.keys() | set(RECOMPUTED)
        assert back["motion"].dtype == np.float32 and back["motion"].shape == (row["length"], 263)
        np.testing.assert_allclose(back.pop("motion"), row.pop("motion"), atol=1e-3)
        for name, value in row.items():
            assert np.array_equal(back[name], value), name


def test_what_an_update_recomputed_is_kept_and_else_is_no_number(tmp_path):
    first, second = rows()[:2]
    write_rollout(tmp_path / "r.parquet", [first | {"log_ratio": np.arange(5.0), "kl": np.ones(5)}, second], COLUMNS)
    one, two = read_rollout(tmp_path / "r.parquet")
    assert one["log_ratio"].tolist() == [0, 1, 2, 3, 4] and one["kl"].tolist() == [1] * 5
    assert two["log_ratio"].shape == two["kl"].shape == (5,) and np.isnan([two["log_ratio"], two["kl"]]).all()


def test_a_motion_that_is_not_kept_is_none_and_its_row_stays(tmp_path):
    write_rollout(tmp_path / "r.parquet", [rows()[0], rows()[1] | {"motion": None}], COLUMNS)
    found = read_rollout(tmp_path / "r.parquet")
    assert found[0]["motion"] is not None and found[1]["motion"] is None
    assert np.array_equal(found[1]["log_probs"], rows()[1]["log_probs"]) and found[1]["length"] == 21


NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "best_worst"),
    [([0.2, 0.9, NAN, -0.4], [3, 1]), ([NAN, 0.3], [1]), ([NAN, NAN], []), ([0.5, 0.5], [0, 1]), ([np.inf, 1, 2, 3], [1, 3])],
)
def test_the_motions_kept_are_all_or_the_best_and_the_worst_scored_or_none(rewards, best_worst):
    rewards = np.array(rewards, np.float32)
    assert kept_samples(rewards, "best_worst") == best_worst
    assert (kept_samples(rewards, "all"), kept_samples(rewards, "none")) == (list(range(len(rewards))), [])


def test_the_file_has_the_schema_and_is_compressed(tmp_path):
    write_rollout(tmp_path / "r.parquet", rows(), COLUMNS)
    file = pq.ParquetFile(tmp_path / "r.parquet")
    assert file.schema_arrow.equals(schema(COLUMNS))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_sample_without_trained_steps_is_kept(tmp_path):
    row = rows(1)[0] | {"log_probs": np.zeros(0, np.float32), "timesteps": np.zeros(0, np.int32), "components": {}}
    write_rollout(tmp_path / "r.parquet", [row], COLUMNS)
    back = read_rollout(tmp_path / "r.parquet")[0]
    assert back["log_probs"].shape == back["timesteps"].shape == (0,) and back["components"] == {}


def test_nan_rewards_are_kept_as_they_are(tmp_path):
    nan = float("nan")
    write_rollout(tmp_path / "r.parquet", [rows(1)[0] | {"reward": nan, "components": {"total": nan}}], COLUMNS)
    back = read_rollout(tmp_path / "r.parquet")[0]
    assert np.isnan(back["reward"]) and np.isnan(back["components"]["total"])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_rollout(tmp_path / "r.parquet", rows(), COLUMNS)
    before = (tmp_path / "r.parquet").read_bytes()
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(OSError):
        write_rollout(tmp_path / "folder.parquet", rows(), COLUMNS)
    with pytest.raises(pa.ArrowException):
        write_rollout(tmp_path / "r.parquet", [rows(1)[0] | {"iteration": "four"}], COLUMNS)
    assert (tmp_path / "r.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.parquet", "r.parquet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 19}, "motion of shape .20, 263., expected .19, HumanML3D's 263 or KIT"),
        ({"motion": np.zeros((20, 252))}, "motion of shape .20, 252."),
        ({"timesteps": np.arange(4)}, "5 log-probs for 4 timesteps"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_rollout(tmp_path / "r.parquet", [rows(1)[0] | change], COLUMNS)
    assert not list(tmp_path.iterdir())


def test_what_is_no_rollout_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere.parquet: file not found"):
        read_rollout(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("walk\n")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_rollout(tmp_path / "text.parquet")
    pq.write_table(pa.Table.from_pylist([{"prompt": "walk"}]), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="columns are not those of a rollout"):
        read_rollout(tmp_path / "other.parquet")
    write_rollout(tmp_path / "r.parquet", rows(1), COLUMNS)
    table = pq.read_table(tmp_path / "r.parquet")
    longer = table.set_column(5, "length", pa.array([21], pa.int32()))
    pq.write_table(longer, tmp_path / "longer.parquet")
    with pytest.raises(InputError, match="row 0 holds .* bytes of motion, expected 21 x HumanML3D's 263 or KIT-ML's 251 numbers"):
        read_rollout(tmp_path / "longer.parquet")
