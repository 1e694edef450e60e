"""The whole road on images drawn by the computer: draw, train twice, evaluate, predict, report."""
