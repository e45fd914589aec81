"""What a reader leaves out of a file that others wrote, counted and named."""


class Skipped(dict[str, int]):
    """How many parts of a file were left out, by reason; as text, with the first of each."""

    def __init__(self):
        super().__init__()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        self[reason] = self.get(reason, 0) + 1
        self.first.setdefault(reason, where)

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason} (first: {self.first[reason]})" for reason, count in self.items())
