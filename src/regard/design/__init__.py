"""Trainable attention layers, and putting them into a model that is there."""
