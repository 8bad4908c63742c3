"""Pictures: of fronts, on a screen and in a paper, of confirmed trials, of curves and of masks."""
