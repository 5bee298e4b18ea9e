"""The grid-worlds of the LPG paper (Oh et al. 2020), their level distributions and optima."""
