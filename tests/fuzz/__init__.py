"""Coverage-guided fuzzing, apart from the other tests: ``make fuzz``."""
