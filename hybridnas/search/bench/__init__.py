"""Replays of searches on tables of results: which sampler needs how many trainings."""
