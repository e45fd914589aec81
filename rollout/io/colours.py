"""How every picture looks: its colours, and the axes of what is plotted."""

INK, FAINT, PAPER = "#1f2430", "#7b8494", "#ffffff"
LEFT, RIGHT, TRAIL = "#2478b5", "#d1443c", "#e8a317"  # of a body, its way, and of curves


def dress(axes, title: str, colour: str = INK) -> None:
    """A title above the left end, a faint grid, and no frame."""
    axes.set_title(title, fontsize=10, loc="left", color=colour)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
