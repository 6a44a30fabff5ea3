"""Trained 1-bit graph -> Program: deploy (exact eval graph), lower (fusion and thresholds), emulate (the judge)."""
