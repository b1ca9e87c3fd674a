"""Networks taken apart: formulas, costs, receptive fields, comparison, drawings."""
