"""The mathematics: logits and targets -> statistics -> radii -> weights -> loss. Knows nothing of any host."""
