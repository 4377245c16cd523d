"""The parts that audited models are built from; `cropaudit.training.models` is their door."""
