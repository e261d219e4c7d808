"""Samplers: who proposes the next architecture."""
