"""Procedurally generated games in the spirit of ProcGen (Cobbe et al. 2020), own art."""
