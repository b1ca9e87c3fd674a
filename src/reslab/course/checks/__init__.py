"""One check for each exercise: `check(answer)` returns what was checked or raises NotSolvedError."""
