"""How large a group is and how much of it is trained on: what every family's `rollout` section has."""

from rollout.io.settings import Section, option, refuse


class GroupSettings(Section):
    """A family says how many samples its groups have: `group_size`."""

    trained_samples: int | None = option(
        None, "samples of a group that are trained on: its best and its worst, half of each, all compared with the mean of the whole group; null = all"
    )

    def check(self) -> None:
        if self.group_size < 2:
            refuse("group_size", self.group_size, "at least 2 (a group of one has no baseline)")
        trained = self.trained_samples
        if trained is not None and (trained % 2 or not 4 <= trained < self.group_size):  # a batch of 2 or 3 has other bits
            refuse("trained_samples", trained, f"an even number from 4 to less than rollout.group_size, {self.group_size}; or null, all of them")
