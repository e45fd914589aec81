"""A reward that random weights can gain: how many of an answer's letters are in the first half of the alphabet. And one that takes its time."""

import time

import numpy as np


class Letters:
    def __call__(self, answers):
        return np.array([sum(32 <= ord(c) < 80 for c in text) / max(1, len(text)) for text in answers.completions], np.float32)


class Slow:
    def __call__(self, answers):
        time.sleep(0.5)
        return np.zeros(len(answers), np.float32)
