"""The colours of every picture."""

INK, FAINT, PAPER = "#1f2430", "#7b8494", "#ffffff"
LEFT, RIGHT, TRAIL = "#2478b5", "#d1443c", "#e8a317"  # of a body, its way, and of curves
