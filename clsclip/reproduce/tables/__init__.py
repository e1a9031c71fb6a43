"""Every table of the paper as a plan of runs: trained, evaluated, printed beside the published figures."""
