"""Fits populations to recordings: maximum likelihood by prediction-error decomposition, with exact gradients."""
