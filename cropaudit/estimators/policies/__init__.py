"""Estimators with the rules that feed them: where thresholds come from, what is corrected."""
