"""What the page shows of a run whose samples are answers."""

import base64
import zlib

import numpy as np
import pyarrow.parquet as pq

from learner.report.content import content_of
from rollout.record import write_rollout


def test_answers_have_what_was_shown_and_what_is_right(answers):
    folder, item = answers
    found = content_of([folder])["runs"][0]
    assert found["shown"]["kind"] == "text" and found["verdict"]["defects"] == []
    (group,) = found["rollouts"][1]["groups"]
    assert group["prompt"] == item.text and f"<answer>{group['truth']}</answer>" == item.solution
    assert found["pictures"][group["picture"]].startswith("data:image/webp;base64,")
    assert zlib.decompress(base64.b64decode(found["outputs"][group["outputs"][1]])) == b"<think>he walks</think><answer>B</answer>"
    assert found["actions"][group["outputs"][0]]["log_probs"] == [-1, -2, -3] and group["log_prob"] == [-2, -2]  # no more than the answer is long


def test_an_answer_is_told_by_token_where_the_model_would_write_it_so(answers):
    from tokenizers import Tokenizer

    from rollout.language.record import COLUMNS as ANSWERS
    from rollout.language.settings import SHIPPED
    from rollout.record import read_rollout as read_record

    folder, _ = answers
    path = folder / "rollouts" / "000001.parquet"
    first, second = read_record(path, ANSWERS)
    tokenizer = Tokenizer.from_file(str(SHIPPED["people"] / "tokenizer.json"))
    ids = tokenizer.encode("<think>a person</think><answer>B</answer>", add_special_tokens=False).ids
    text = tokenizer.decode(ids, skip_special_tokens=False)
    told = first | {"text": text, "token_ids": np.int32(ids), "length": len(ids), "log_probs": np.full(len(ids), -1, np.float32)}
    for name in ("log_ratio", "kl"):
        told[name] = np.full(len(ids), np.nan, np.float32)
    write_rollout(path, [told, second], ANSWERS)
    found = content_of([folder])["runs"][0]
    one, two = (found["actions"][place] for place in found["rollouts"][1]["groups"][0]["outputs"])
    assert "".join(one["tokens"]) == text and len(one["tokens"]) == len(one["log_probs"]) == len(ids) > 3
    assert set(one) == {"log_probs", "tokens"} and set(two) == {"log_probs"}  # whose ids are of another text


def test_a_prompt_that_is_not_that_of_its_seed_has_no_picture(answers):
    folder, _ = answers
    path = folder / "rollouts" / "000001.parquet"
    table = pq.read_table(path)
    place = table.schema.names.index("prompt")
    pq.write_table(table.set_column(place, "prompt", [["another question"] * 2]), path)
    (group,) = content_of([folder])["runs"][0]["rollouts"][1]["groups"]
    assert "picture" not in group and "truth" not in group


def test_items_that_are_no_longer_those_of_the_run_are_shown_beside_none_of_its_groups(answers):
    folder, _ = answers
    for checkpoint in (folder / "checkpoints").iterdir():
        checkpoint.unlink()
    (group,) = content_of([folder])["runs"][0]["rollouts"][1]["groups"]
    assert "picture" not in group and "truth" not in group


def test_points_of_an_answer_are_shares_of_its_image(answers):
    from learner.config.parse import parse_config, write_config

    folder, _ = answers
    assert content_of([folder])["runs"][0]["shown"]["points"] is None
    write_config(parse_config(["--config", "points"]), folder / "config.yaml")
    assert content_of([folder])["runs"][0]["shown"]["points"] == 1000


def test_a_run_of_other_settings_than_there_are_now_still_shows_what_it_made(copied, answers):
    for family in ("motion", "language"):
        (copied / "config.yaml").write_text(f"family: {family}\nno_longer_a_setting: 3\n")
        found = content_of([copied])["runs"][0]
        assert found["shown"]["kind"] == {"motion": "motion", "language": "text"}[family] and found["provenance"]["settings"] == []
        assert any("no_longer_a_setting" in line for line in found["verdict"]["defects"])
