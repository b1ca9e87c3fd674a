"""Networks taken apart: formulas, costs, receptive fields, comparison, gradient flow and drawings."""
