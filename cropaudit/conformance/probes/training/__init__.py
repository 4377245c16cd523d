"""Probes of trainers and whole trainings: what each step did, and what it was given."""
