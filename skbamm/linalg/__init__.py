"""Numerics without a word of learning: designs, cross-products, factors, softmax fits."""
