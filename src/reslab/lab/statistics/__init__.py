"""Statistics of a comparison, from arrays of right and wrong answers: intervals, verdicts, power, looks."""
