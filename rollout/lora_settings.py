"""The settings of an adapter, of any family."""

from rollout.io.settings import Section, option, refuse


class AdapterSettings(Section):
    """The low-rank adapter. Disabled, every weight of the model is trained. A family's own says which linears get one, all of them by
    default."""

    enabled: bool = option(True, "train an adapter; false = full fine-tuning", flags=("--use_lora", "--lora"))
    r: int = option(16, "rank of the adapter's matrices", minimum=1, flags=("--lora_r",))
    alpha: float = option(32.0, "the adapter's output is scaled by alpha / r", above=0, flags=("--lora_alpha",))
    targets: tuple[str, ...] = ()

    def check(self) -> None:
        known = type(self).model_fields["targets"].default
        if len(set(self.targets)) < len(self.targets) or not set(self.targets) <= set(known) or not self.targets:
            refuse("targets", list(self.targets), f"one or more different names of {', '.join(known)}")
