"""The detector, its hooks, the SR branch, safe weight reading and the one inference path."""
