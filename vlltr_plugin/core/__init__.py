"""The mathematics: logits and targets -> statistics -> radii -> weights -> loss. Independent of the hosts."""
