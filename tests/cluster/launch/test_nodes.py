"""Who is named when nodes are missing."""

from cluster.launch.nodes import missing

SEEN = {
    name: {"NodeManagerAddress": f"10.0.0.{number}", "NodeManagerHostname": f"gpu0{number}.site"} for number, name in enumerate("abcd", 1)
}  # fmt: skip


def test_those_that_are_silent_those_that_went_and_those_that_never_came():
    hosts = ["gpu01", "gpu02.site", "10.0.0.3", "gpu04", "gpu05.site", "10.0.0.6"]
    said = missing(SEEN, {"a", "b", "c"}, {"a"}, hosts)
    assert said == "; no answer from 10.0.0.2, 10.0.0.3; lost 10.0.0.4; no node is called gpu05.site, 10.0.0.6"


def test_a_node_that_was_started_anew_is_not_lost():
    assert missing({**SEEN, "b-before": SEEN["b"]}, {*"abc"}, {*"abc"}, []) == "; lost 10.0.0.4"


def test_nobody_where_all_answer_and_no_host_where_none_is_known():
    assert missing(SEEN, {*SEEN}, {*SEEN}, ["gpu01"]) == missing(SEEN, {*SEEN}, {*SEEN}, []) == ""
