"""Float graph and plan to a trainable 1-bit graph: estimators, layers, surgery and one file per method."""
