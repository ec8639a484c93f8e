"""What comes after the last convolution is found, in a graph drawn by hand and in exported ones."""

from __future__ import annotations

from deployment.exporting.files import tail_nodes


def test_the_tail_is_what_no_convolution_comes_after():
    # conv1 -> act -> conv2 -> reshape -> softmax -> integral -> out, and act -> out by a shortcut
    consumers = {"conv1": ["act"], "act": ["conv2", "out"], "conv2": ["reshape"], "reshape": ["softmax"],
                 "softmax": ["integral"], "integral": ["out"], "out": []}  # fmt: skip
    assert sorted(tail_nodes(consumers, {"conv1", "conv2"})) == ["integral", "out", "reshape", "softmax"]
